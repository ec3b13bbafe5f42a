//! A furnished house: two organisations with teams, projects, keys and people whose names can be told apart, and a
//! principal for each role on each kind of place.

use crate::api::{ApiState, Guesses, Readiness, router};
use crate::clock::{Clock, Timestamp};
use crate::event::Event;
use crate::secret::Secret;
use crate::store::fixtures::{NOON, call, later};
use crate::store::{ChangeError, Changes, JournalPosition, NewKey, Reader, Store, pepper};
use crate::tenants::{Caller, KeyLimits, KeyText, Permissions, Role, TenantKind};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use tempfile::TempDir;

/// The admin token.
pub const ADMIN: &str = "the-admin-token";
/// The token that makes the first owner.
pub const FIRST_OWNER: &str = "the-first-owners-token";
/// Of every maud.
pub const PASSWORD: &str = "correct horse battery";

/// Hashes that cost nothing, and guesses without end.
pub const CHEAP: Guesses = Guesses { memory_kib: 8, passes: 1, of_name: MANY, of_address: MANY, codes: MANY };
const MANY: NonZeroU32 = NonZeroU32::MIN.saturating_add(1_000_000);

/// A call of each team's key, in the order of the matrix.
pub fn calls() -> [Event; 3] {
    let of = |place: u64, organisation: &str, team: &str| {
        let mut event = call(later(-10 * place as i64), place);
        event.opening.caller = Arc::new(Caller {
            organisation: Some(organisation.into()),
            team: Some(team.into()),
            key: Some(format!("key-of-{team}").into()),
            ..Caller::default()
        });
        event
    };
    [of(0, "acme-x7", "research-x7"), of(1, "acme-x7", "sales-x7"), of(2, "other-x7", "field-x7")]
}

/// Stands at noon until it is put forward or back.
#[derive(Debug)]
struct HouseClock(AtomicI64);

impl Clock for HouseClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

pub struct House {
    pub dir: TempDir,
    address: SocketAddr,
    clock: Arc<HouseClock>,
    client: Client<HttpConnector, Full<bytes::Bytes>>,
}

pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{} {}", self.status, self.body))
    }
}

/// Where the principals' roles are: on the installation, `acme-x7`, `research-x7`, `ranker-x7`.
pub const PLACES: [Option<(TenantKind, &str)>; 4] = [
    None,
    Some((TenantKind::Organisation, "acme-x7")),
    Some((TenantKind::Team, "research-x7")),
    Some((TenantKind::Project, "ranker-x7")),
];

impl House {
    pub async fn empty() -> House {
        let dir = TempDir::new().unwrap();
        Store::open(dir.path(), NOON).unwrap();
        pepper(dir.path()).unwrap();
        House::on(dir, true, CHEAP).await
    }

    /// Empty, and without an admin token.
    pub async fn loopback() -> House {
        let dir = TempDir::new().unwrap();
        Store::open(dir.path(), NOON).unwrap();
        House::on(dir, false, CHEAP).await
    }

    pub async fn furnished() -> House {
        let house = House::empty().await;
        house.change(furnish);
        let upto = JournalPosition { segment: 0, offset: 1 };
        store(house.dir.path()).fold(1, &calls(), upto).unwrap();
        let pepper = pepper(house.dir.path()).unwrap();
        house.change(|changes| {
            for of in ["acme", "other"] {
                let digest = pepper.digest(invitation_of(of).expose());
                changes.invite(&format!("maud-of-{of}"), &digest, later(3_600))?;
            }
            for (at, place) in PLACES.into_iter().enumerate() {
                for role in Role::ALL {
                    let user = format!("{}-{at}", role.name());
                    changes.create_tenant(TenantKind::User, &user, Some("acme-x7"))?;
                    changes.grant(&user, place, role)?;
                    let text = text_of(role, at);
                    changes.create_token(&user, "test", &pepper.digest(text.expose()), text.prefix(), None)?;
                }
            }
            Ok(())
        });
        house
    }

    /// Another house, furnished as this one.
    pub async fn copied(&self) -> House {
        let dir = TempDir::new().unwrap();
        self.reader().copy_into(&dir.path().join(crate::store::FILE_NAME)).unwrap();
        let pepper = crate::store::PEPPER_FILE;
        std::fs::copy(self.dir.path().join(pepper), dir.path().join(pepper)).unwrap();
        Store::open(dir.path(), NOON).unwrap();
        House::on(dir, true, CHEAP).await
    }

    /// The same house, with guesses bounded so.
    pub async fn guarded(self, guesses: Guesses) -> House {
        House::on(self.dir, true, guesses).await
    }

    /// Puts its clock to so many seconds after noon.
    pub fn put_clock(&self, seconds_after_noon: i64) {
        self.clock.0.store(later(seconds_after_noon).as_micros(), Ordering::Relaxed);
    }

    async fn on(dir: TempDir, with_token: bool, guesses: Guesses) -> House {
        let clock = Arc::new(HouseClock(AtomicI64::new(NOON.as_micros())));
        let state = ApiState {
            reader: Reader::open(dir.path()).unwrap(),
            clock: clock.clone(),
            is_loopback: true,
            admin_token: with_token.then(|| Secret::new(ADMIN.to_owned())),
            first_owner: Some(Secret::new(FIRST_OWNER.to_owned())),
            guesses,
            oidc: Vec::new(),
            address: SocketAddr::from(([127, 0, 0, 1], 4001)),
            metrics: Arc::new(String::new),
            readiness: Arc::new(Readiness::default),
            node: crate::api::Node::of_nothing(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = router(state).into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, app).await });
        House { dir, address, clock, client: Client::builder(TokioExecutor::new()).build_http() }
    }

    pub fn reader(&self) -> Reader {
        Reader::open(self.dir.path()).unwrap()
    }

    pub fn change<T>(&self, work: impl FnOnce(&Changes<'_>) -> Result<T, ChangeError>) -> T {
        store(self.dir.path()).change(NOON, "test", work).unwrap()
    }

    /// The token of the principal with this role on this one of [`PLACES`].
    pub fn token(&self, role: Role, place: usize) -> String {
        text_of(role, place).expose().to_owned()
    }

    /// Logs a maud in.
    pub async fn session_of(&self, user: &str) -> Session {
        let opened = self.post("", "/api/v1/sessions", serde_json::json!({ "user": user, "password": PASSWORD })).await;
        assert_eq!(opened.status, 201, "{}", opened.body);
        let csrf_token = opened.json()["csrf_token"].as_str().unwrap().to_owned();
        Session { set_cookie: opened.headers["set-cookie"].to_str().unwrap().to_owned(), csrf_token }
    }

    pub async fn post(&self, token: &str, path: &str, body: Value) -> Answer {
        self.ask("POST", token, path, &[], &body.to_string()).await
    }

    pub async fn ask(&self, method: &str, token: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let mut request = http::Request::builder().method(method).uri(format!("http://{}{path}", self.address));
        if !token.is_empty() {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if !body.is_empty() && !headers.iter().any(|(name, _)| *name == "content-type") {
            request = request.header("content-type", "application/json");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let body = Full::new(bytes::Bytes::from(body.to_owned()));
        let response = self.client.request(request.body(body).unwrap()).await.unwrap();
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        let body = response.into_body().collect().await.unwrap().to_bytes();
        Answer { status, headers, body: String::from_utf8(body.to_vec()).unwrap() }
    }
}

/// What a browser has of a session.
pub struct Session {
    pub set_cookie: String,
    pub csrf_token: String,
}

impl Session {
    pub fn cookie(&self) -> &str {
        self.set_cookie.split(';').next().unwrap()
    }

    pub fn headers(&self) -> [(&str, &str); 2] {
        [("cookie", self.cookie()), ("x-csrf-token", &self.csrf_token)]
    }
}

/// The text of the invitation of this organisation's maud.
pub fn invitation_of(of: &str) -> KeyText {
    KeyText::invitation_from_random(&[of.len() as u8; 32])
}

fn store(dir: &Path) -> Store {
    Store::open(dir, NOON).unwrap()
}

fn text_of(role: Role, place: usize) -> KeyText {
    KeyText::token_from_random(&[role as u8 * 16 + place as u8 + 1; 32])
}

fn furnish(changes: &Changes<'_>) -> Result<(), ChangeError> {
    use TenantKind::{Organisation, Project, Team, User};
    for (organisation, teams) in [
        ("acme-x7", &[("research-x7", "ranker-x7"), ("sales-x7", "crm-x7")][..]),
        ("other-x7", &[("field-x7", "scout-x7")]),
    ] {
        changes.create_tenant(Organisation, organisation, None)?;
        let of = organisation.trim_end_matches("-x7");
        let [maud, mila, bot] = ["maud", "mila", "bot"].map(|name| format!("{name}-of-{of}"));
        changes.create_tenant(User, &maud, Some(organisation))?;
        changes.create_tenant(User, &mila, Some(organisation))?;
        changes.create_program(&bot, Some(organisation))?;
        changes.create_token(&bot, "test", &crate::tenants::Digest([of.len() as u8; 32]), "fbt00000000", None)?;
        changes.grant(&mila, Some((Organisation, organisation)), Role::Viewer)?;
        for (team, project) in teams {
            let name = format!("budget-of-{team}");
            let body =
                serde_json::json!({ "name": name, "window": "day", "limit": "5 USD", "scope": { "team": team } });
            changes.set_own_budget(&name, body.as_object().unwrap())?;
            let account = ["research-x7", "sales-x7", "field-x7"].iter().position(|known| known == team).unwrap();
            changes.insert_alert(account as i64 + 1, &name)?;
            changes.create_tenant(Team, team, Some(organisation))?;
            changes.create_tenant(Project, project, Some(team))?;
            changes.grant(&mila, Some((Team, team)), Role::Viewer)?;
            changes.grant(&mila, Some((Project, project)), Role::Viewer)?;
            for (name, kind) in [(team, Team), (project, Project)] {
                let name_of_key = format!("key-of-{name}");
                changes.create_key(&NewKey {
                    name: &name_of_key,
                    holder: Some((kind, name)),
                    user: None,
                    permissions: &Permissions::default(),
                    limits: &KeyLimits::default(),
                    tags: &Vec::new(),
                    not_after: None,
                    digest: crate::tenants::Digest(*blake3::hash(name_of_key.as_bytes()).as_bytes()),
                    prefix: "fb-00000000",
                })?;
            }
        }
    }
    for user in ["maud-of-acme", "maud-of-other"] {
        changes.set_password(user, &CHEAP.hashed(PASSWORD).unwrap_or_default())?;
    }
    changes.grant("mila-of-acme", None, Role::Viewer)?;
    changes.grant("mila-of-other", None, Role::Viewer)
}
