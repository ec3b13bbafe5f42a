use super::*;
use crate::store::fixtures::{NOON, later};
use crate::store::{ChangeError, Changes, Named, NewKey, Store};
use crate::tenants::KeyLimits;
use crate::tenants::{KeyText, NotAdmitted};
use tempfile::TempDir;

const TEAM: TenantKind = TenantKind::Team;
const PEPPER: [u8; 32] = [9; 32];

/// A house with the team `research`, its project `ranker`, the user `alice`, and a way to change it.
struct Town {
    dir: TempDir,
    store: Store,
}

fn town() -> Town {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), NOON).unwrap();
    let mut town = Town { dir, store };
    town.change(|changes| {
        changes.create_tenant(TEAM, "research", None)?;
        changes.create_tenant(TenantKind::Project, "ranker", Some("research"))?;
        changes.create_tenant(TenantKind::User, "alice", None)
    })
    .unwrap();
    town
}

impl Town {
    fn change<T>(&mut self, work: impl FnOnce(&Changes<'_>) -> Result<T, ChangeError>) -> Result<T, ChangeError> {
        self.store.change(later(1), "test", work)
    }

    fn reader(&self) -> Reader {
        Reader::open(self.dir.path()).unwrap()
    }

    fn keyring(&self) -> Keyring {
        self.reader().keyring(Pepper::new(PEPPER)).unwrap()
    }

    /// What a key's text opens, at noon and some.
    fn opens(&self, text: &KeyText, seconds: i64) -> Result<Caller, NotAdmitted> {
        self.keyring().authenticate(text.expose(), later(seconds)).map(|found| Caller::clone(&found.caller))
    }
}

fn text(seed: u8) -> KeyText {
    KeyText::from_random(&[seed; 32])
}

/// A key of a holder's with this text.
fn add(
    changes: &Changes<'_>,
    name: &str,
    holder: Option<(TenantKind, &str)>,
    text: &KeyText,
) -> Result<(), ChangeError> {
    changes.create_key(&NewKey {
        name,
        holder,
        user: None,
        permissions: &Permissions::default(),
        limits: &KeyLimits::default(),
        tags: &vec![("app".into(), "x".into())],
        not_after: None,
        digest: Pepper::new(PEPPER).digest(text.expose()),
        prefix: text.prefix(),
    })
}

#[test]
fn a_key_of_a_project_is_its_teams_and_its_organisations_too() {
    let mut town = town();
    let key = text(1);
    town.change(|changes| add(changes, "app", Some((TenantKind::Project, "ranker")), &key)).unwrap();
    let caller = town.opens(&key, 2).unwrap();
    let names = [caller.organisation, caller.team, caller.project, caller.key, caller.user];
    assert_eq!(
        names.map(|name| name.map(|name| name.to_string())),
        [
            Some("default".to_owned()),
            Some("research".to_owned()),
            Some("ranker".to_owned()),
            Some("app".to_owned()),
            None
        ]
    );
    let kept = town.reader().virtual_key("app").unwrap().unwrap();
    assert_eq!((&*kept.secrets[0].prefix, kept.secrets.len()), (key.prefix(), 1));
    assert_eq!(kept.tags, vec![("app".into(), "x".into())]);
}

#[test]
fn every_change_grows_the_generation_and_a_failed_one_leaves_nothing() {
    let mut town = town();
    let before = town.reader().tenants_generation().unwrap();
    let failed = town.change(|changes| {
        changes.create_tenant(TEAM, "sales", None)?;
        changes.create_tenant(TenantKind::Project, "crm", Some("no-such-team"))
    });
    assert!(failed.unwrap_err().to_string().contains("no team called `no-such-team`"));
    assert_eq!(town.reader().tenants_generation().unwrap(), before);
    assert!(town.reader().tenant(TEAM, "sales").unwrap().is_none());
    town.change(|changes| changes.create_tenant(TEAM, "sales", None)).unwrap();
    assert_eq!(town.keyring().generation, before + 1);
}

#[test]
fn a_disabled_team_closes_its_keys_and_an_enabled_one_opens_them_again() {
    let mut town = town();
    let key = text(1);
    town.change(|changes| add(changes, "app", Some((TenantKind::Project, "ranker")), &key)).unwrap();
    let team = Named::Tenant(TEAM);
    town.change(|changes| changes.set_disabled(team, "research", true)).unwrap();
    assert_eq!(town.opens(&key, 2), Err(NotAdmitted::Disabled { key: "app".into(), what: Closed::Team }));
    town.change(|changes| changes.set_disabled(team, "research", false)).unwrap();
    assert!(town.opens(&key, 2).is_ok());
}

#[test]
fn after_a_rotation_both_texts_open_until_the_overlap_ends() {
    let mut town = town();
    let (old, new) = (text(1), text(2));
    town.change(|changes| add(changes, "app", Some((TEAM, "research")), &old)).unwrap();
    let digest = Pepper::new(PEPPER).digest(new.expose());
    town.change(|changes| changes.rotate_key("app", &digest, new.prefix(), later(60))).unwrap();
    assert_eq!(town.opens(&old, 59), town.opens(&new, 59));
    assert_eq!(town.opens(&old, 60), Err(NotAdmitted::Expired { key: "app".into(), at: later(60) }));
    assert!(town.opens(&new, 60).is_ok());
    let kept = town.reader().virtual_key("app").unwrap().unwrap();
    assert_eq!((&*kept.secrets[0].prefix, kept.secrets[1].not_after), (new.prefix(), Some(later(60))));
}

#[test]
fn a_deleted_name_is_never_given_out_again() {
    let mut town = town();
    let key = text(1);
    town.change(|changes| add(changes, "app", Some((TEAM, "research")), &key)).unwrap();
    let taken = town.change(|changes| add(changes, "app", None, &text(2))).unwrap_err();
    assert!(matches!(taken, ChangeError::Taken { .. }), "{taken}");
    town.change(|changes| changes.delete(Named::Key, "app")).unwrap();
    assert_eq!(town.opens(&key, 2), Err(NotAdmitted::Unknown));
    let reused = town.change(|changes| add(changes, "app", None, &text(2))).unwrap_err();
    assert!(matches!(reused, ChangeError::WasTaken { .. }), "{reused}");
    assert!(town.reader().virtual_keys(Holder::Anyone, false).unwrap().is_empty());
    assert_eq!(town.reader().virtual_keys(Holder::Tenant(TEAM, "research"), true).unwrap().len(), 1);
}

#[test]
fn a_team_that_holds_something_is_not_deleted_and_says_what() {
    let mut town = town();
    town.change(|changes| add(changes, "app", Some((TEAM, "research")), &text(1))).unwrap();
    let refused = town.change(|changes| changes.delete(Named::Tenant(TEAM), "research")).unwrap_err().to_string();
    assert!(refused.contains("the project `ranker`, the key `app`"), "{refused}");
}

#[test]
fn with_several_organisations_one_must_be_named_and_users_stay_in_theirs() {
    let mut town = town();
    let refused = town.change(|changes| {
        changes.create_tenant(TenantKind::Organisation, "acme", None)?;
        changes.create_tenant(TEAM, "sales", None)
    });
    assert!(refused.unwrap_err().to_string().contains("several organisations (acme, default)"));
    let across = town.change(|changes| {
        changes.create_tenant(TenantKind::Organisation, "acme", None)?;
        changes.create_tenant(TenantKind::User, "bob", Some("acme"))?;
        let new = NewKey {
            name: "app",
            holder: Some((TEAM, "research")),
            user: Some("bob"),
            permissions: &Permissions::default(),
            limits: &KeyLimits::default(),
            tags: &Vec::new(),
            not_after: None,
            digest: Pepper::new(PEPPER).digest("x"),
            prefix: "fb-x",
        };
        changes.create_key(&new)
    });
    assert!(across.unwrap_err().to_string().contains("`bob` belongs to the organisation `acme`"));
}

#[test]
fn permissions_of_a_newer_farebox_close_the_key_instead_of_opening_it_wide() {
    let mut town = town();
    let key = text(1);
    town.change(|changes| add(changes, "app", None, &key)).unwrap();
    let connection = rusqlite::Connection::open(town.store.path()).unwrap();
    connection.execute("UPDATE virtual_keys SET permissions = '{\"hours\":[9]}'", []).unwrap();
    assert_eq!(town.opens(&key, 2), Err(NotAdmitted::Disabled { key: "app".into(), what: Closed::Unreadable }));
}

#[test]
fn a_line_of_the_audit_log_that_was_changed_or_taken_out_breaks_the_chain() {
    let mut town = town();
    town.change(|changes| changes.create_tenant(TEAM, "sales", None)).unwrap();
    let reader = town.reader();
    let whole = reader.verify_audit().unwrap();
    assert_eq!((whole.lines, whole.broken_at), (5, None));
    let lines = reader.audit(None, 2).unwrap();
    assert_eq!((lines[0].kind, &*lines[0].subject, &*lines[0].actor, lines[0].id), ("team", "sales", "test", 5));
    assert_eq!(reader.audit(Some(4), 100).unwrap().len(), 3);
    let connection = rusqlite::Connection::open(town.store.path()).unwrap();
    connection.execute("UPDATE audit SET actor = 'nobody' WHERE id = 3", []).unwrap();
    assert_eq!(reader.verify_audit().unwrap().broken_at, Some(3));
    connection.execute("DELETE FROM audit WHERE id = 2", []).unwrap();
    assert_eq!(reader.verify_audit().unwrap().broken_at, Some(3));
}
