//! One identity provider: asking it for a person, and believing what it signs. The protocol is `openidconnect`'s.

use super::super::problem::Problem;
use super::OidcSettings;
use super::outgoing::{Channel, NoAnswer, told};
use super::pending::Secrets;
use crate::secret::Secret;
use openidconnect::core::{
    CoreAuthDisplay, CoreAuthPrompt, CoreAuthenticationFlow, CoreErrorResponseType, CoreGenderClaim, CoreJsonWebKey,
    CoreJweContentEncryptionAlgorithm, CoreJwsSigningAlgorithm, CoreProviderMetadata, CoreRevocableToken,
    CoreRevocationErrorResponse, CoreTokenIntrospectionResponse, CoreTokenType,
};
use openidconnect::{
    AccessTokenHash, AdditionalClaims, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken, DiscoveryError,
    EmptyExtraTokenFields, EndpointMaybeSet, EndpointNotSet, EndpointSet, IdTokenClaims, IdTokenFields, IssuerUrl,
    Nonce, OAuth2TokenResponse, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RequestTokenError, Scope,
    StandardErrorResponse, StandardTokenResponse, TokenResponse,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::HashMap;
use std::net::SocketAddr;

/// Whatever a provider says beside the standard claims.
#[derive(Clone, Debug, Deserialize, Serialize)]
struct Further {
    #[serde(flatten)]
    all: HashMap<String, Value>,
}

impl AdditionalClaims for Further {}

type Tokens = StandardTokenResponse<
    IdTokenFields<
        Further,
        EmptyExtraTokenFields,
        CoreGenderClaim,
        CoreJweContentEncryptionAlgorithm,
        CoreJwsSigningAlgorithm,
    >,
    CoreTokenType,
>;

type Relying = Client<
    Further,
    CoreAuthDisplay,
    CoreGenderClaim,
    CoreJweContentEncryptionAlgorithm,
    CoreJsonWebKey,
    CoreAuthPrompt,
    StandardErrorResponse<CoreErrorResponseType>,
    Tokens,
    CoreTokenIntrospectionResponse,
    CoreRevocableToken,
    CoreRevocationErrorResponse,
    EndpointSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointMaybeSet,
    EndpointMaybeSet,
>;

/// Whom a provider vouches for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Person {
    /// Issuer and subject: what never changes of him.
    pub identity: String,
    /// The claim that names him, in small letters.
    pub name: String,
    /// Whether the provider knows that the name is his.
    pub is_verified: bool,
    pub groups: Vec<String>,
}

pub(super) struct Provider {
    pub settings: OidcSettings,
    /// Where people reach the admin port.
    url: String,
    channel: Channel,
}

impl Provider {
    pub(super) fn new(settings: OidcSettings, address: SocketAddr) -> Provider {
        let url = settings.url.clone().unwrap_or_else(|| format!("http://{address}"));
        let channel = Channel::new(settings.egress.clone());
        Provider { settings, url: url.trim_end_matches('/').to_owned(), channel }
    }

    /// Where a login begins.
    pub(super) fn address(&self) -> String {
        format!("{}/login/{}", self.url, self.settings.name)
    }

    pub(super) fn is_https(&self) -> bool {
        self.url.starts_with("https://")
    }

    /// The address to send the browser to, its state, and what stays here.
    pub(super) async fn begin(&self) -> Result<(String, String, Secrets), Problem> {
        let relying = self.relying().await?;
        let (challenge, verifier) = PkceCodeChallenge::new_random_sha256();
        let flow = CoreAuthenticationFlow::AuthorizationCode;
        let scopes = self.settings.scopes.iter().map(|scope| Scope::new(scope.clone()));
        let request = relying.authorize_url(flow, CsrfToken::new_random, Nonce::new_random).add_scopes(scopes);
        let (url, state, nonce) = request.set_pkce_challenge(challenge).url();
        let secrets =
            Secrets { nonce: Secret::new(nonce.secret().clone()), verifier: Secret::new(verifier.secret().clone()) };
        Ok((url.to_string(), state.secret().clone(), secrets))
    }

    /// Exchanges the code, and believes the ID token if signature, issuer, audience, time, nonce and the access token's
    /// hash are as they must be.
    pub(super) async fn finish(&self, code: String, secrets: Secrets) -> Result<Person, Problem> {
        let relying = self.relying().await?;
        let request = relying.exchange_code(AuthorizationCode::new(code)).map_err(|error| self.failed(&error))?;
        let verifier = PkceCodeVerifier::new(secrets.verifier.expose().clone());
        let tokens = request.set_pkce_verifier(verifier).request_async(&self.channel).await;
        let tokens = tokens.map_err(|error| match error {
            RequestTokenError::Request(error) => self.away(&error),
            other => self.failed(&other),
        })?;
        let id_token = tokens
            .id_token()
            .ok_or_else(|| self.failed(&NoAnswer("the provider answered without an ID token".to_owned())))?;
        let nonce = Nonce::new(secrets.nonce.expose().clone());
        let verifier = relying.id_token_verifier();
        let claims = id_token.claims(&verifier, &nonce).map_err(|error| self.failed(&error))?;
        if let Some(expected) = claims.access_token_hash() {
            let algorithm = id_token.signing_alg().map_err(|error| self.failed(&error))?;
            let key = id_token.signing_key(&verifier).map_err(|error| self.failed(&error))?;
            let found = AccessTokenHash::from_token(tokens.access_token(), algorithm, key);
            if found.map_err(|error| self.failed(&error))? != *expected {
                let why = "the access token is not the one that the ID token was made with";
                return Err(self.failed(&NoAnswer(why.to_owned())));
            }
        }
        self.person(claims)
    }

    fn person(&self, claims: &IdTokenClaims<Further, CoreGenderClaim>) -> Result<Person, Problem> {
        // As JSON, so that any claim can be named in the configuration, a standard one or another.
        let all = serde_json::to_value(claims).unwrap_or_default();
        let by = &self.settings.user_claim;
        let name = all[by].as_str().map(str::to_lowercase);
        let name = name.ok_or_else(|| {
            let detail = format!("the identity provider does not tell `{by}`");
            Problem::forbidden(detail, "let it tell that claim, ask for its scope, or name another as `user_claim`")
        })?;
        let groups = match &all[&self.settings.groups_claim] {
            Value::String(one) => vec![one.clone()],
            Value::Array(several) => several.iter().filter_map(Value::as_str).map(str::to_owned).collect(),
            _ => Vec::new(),
        };
        Ok(Person {
            identity: format!("{}\n{}", claims.issuer().as_str(), claims.subject().as_str()),
            name,
            is_verified: by != "email" || claims.email_verified() == Some(true),
            groups,
        })
    }

    /// Read anew for each login: keys change, and logins are rare.
    async fn relying(&self) -> Result<Relying, Problem> {
        let issuer = IssuerUrl::new(self.settings.issuer.clone()).map_err(|error| self.failed(&error))?;
        let metadata = CoreProviderMetadata::discover_async(issuer, &self.channel).await;
        let metadata = metadata.map_err(|error| match error {
            DiscoveryError::Request(error) => self.away(&error),
            other => self.failed(&other),
        })?;
        let id = ClientId::new(self.settings.client_id.clone());
        let secret = self.settings.client_secret.as_ref().map(|secret| ClientSecret::new(secret.expose().clone()));
        let back = RedirectUrl::new(format!("{}/callback", self.address())).map_err(|error| self.failed(&error))?;
        Ok(Client::from_provider_metadata(metadata, id, secret).set_redirect_uri(back))
    }

    /// The log says why; a stranger is not told.
    fn failed(&self, error: &dyn std::error::Error) -> Problem {
        tracing::warn!(provider = %self.settings.name, why = told(error), "a login by an identity provider failed");
        Problem::unauthorized_for("the identity provider's answer is not to be believed")
            .at("provider", "begin again; the log of this Farebox says what was wrong")
    }

    fn away(&self, error: &dyn std::error::Error) -> Problem {
        tracing::warn!(provider = %self.settings.name, why = told(error), "an identity provider cannot be asked");
        Problem::unavailable("the identity provider cannot be asked", 10)
            .at("provider", "begin again later; the log of this Farebox says what was wrong")
    }
}
