//! A furnished house: two organisations with teams, projects, keys and people whose names can be told apart, and a
//! principal for each role on each kind of place.

use crate::api::{ApiState, Readiness, router};
use crate::clock::{Clock, Timestamp};
use crate::secret::Secret;
use crate::store::fixtures::NOON;
use crate::store::{ChangeError, Changes, NewKey, Reader, Store, pepper};
use crate::tenants::{KeyText, Permissions, Role, TenantKind};
use http_body_util::{BodyExt, Full};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tempfile::TempDir;

/// The admin token.
pub const ADMIN: &str = "the-admin-token";

#[derive(Debug)]
struct AtNoon;

impl Clock for AtNoon {
    fn now(&self) -> Timestamp {
        NOON
    }
}

pub struct House {
    pub dir: TempDir,
    address: SocketAddr,
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
        House::on(dir, true).await
    }

    /// Empty, and without an admin token.
    pub async fn loopback() -> House {
        let dir = TempDir::new().unwrap();
        Store::open(dir.path(), NOON).unwrap();
        House::on(dir, false).await
    }

    pub async fn furnished() -> House {
        let house = House::empty().await;
        house.change(furnish);
        let pepper = pepper(house.dir.path()).unwrap();
        house.change(|changes| {
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
        House::on(dir, true).await
    }

    async fn on(dir: TempDir, with_token: bool) -> House {
        let state = ApiState {
            reader: Reader::open(dir.path()).unwrap(),
            clock: Arc::new(AtNoon),
            is_loopback: true,
            admin_token: with_token.then(|| Secret::new(ADMIN.to_owned())),
            metrics: Arc::new(String::new),
            readiness: Arc::new(Readiness::default),
            node: crate::api::Node::of_nothing(),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = router(state).into_make_service_with_connect_info::<SocketAddr>();
        tokio::spawn(async move { axum::serve(listener, app).await });
        House { dir, address, client: Client::builder(TokioExecutor::new()).build_http() }
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
                    tags: &Vec::new(),
                    not_after: None,
                    digest: crate::tenants::Digest(*blake3::hash(name_of_key.as_bytes()).as_bytes()),
                    prefix: "fb-00000000",
                })?;
            }
        }
    }
    changes.grant("mila-of-acme", None, Role::Viewer)?;
    changes.grant("mila-of-other", None, Role::Viewer)
}
