//! Erasing people. Events name them by number; the names are in one table, and only that is rewritten, so that every
//! sum stays what it was.
//!
//! With a person goes what only that person's events name: sessions, runs, end users, tags, prompt names. What others'
//! events name as well stays. Request ids that clients chose are cut from the events themselves, and the scopes of
//! budgets that name somebody (`user=ann`) get the name that it was rewritten to: their balances stay.

mod scopes;

use super::names::NameKind;
use super::{Store, StoreError, write_transaction};
use crate::clock::Timestamp;
use rusqlite::{Connection, params};
use std::collections::HashSet;

/// Whom to erase.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A user, also where the same name stands as an end user.
    User,
    EndUser,
    Session,
    /// A value of a call's metadata, as it stands in the scopes of budgets: `metadata.ticket=12`.
    Metadata,
}

/// In the list of erasures; no kind of name has it.
const OF_METADATA: u8 = 0;

impl Subject {
    fn kinds(self) -> &'static [NameKind] {
        match self {
            Subject::User => &[NameKind::User, NameKind::EndUser],
            Subject::EndUser => &[NameKind::EndUser],
            Subject::Session => &[NameKind::Session],
            Subject::Metadata => &[],
        }
    }

    /// In the list of erasures.
    fn marks(self) -> Vec<u8> {
        match self {
            Subject::Metadata => vec![OF_METADATA],
            named => named.kinds().iter().map(|kind| *kind as u8).collect(),
        }
    }
}

/// What was erased, or would be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// The person's events; they stay, without names.
    pub events: u64,
    /// Names that were rewritten, those that went along included.
    pub names: u64,
}

/// What can go along with a person.
const ALONG: [(NameKind, &str); 6] = [
    (NameKind::User, "user_id"),
    (NameKind::EndUser, "end_user_id"),
    (NameKind::Session, "session_id"),
    (NameKind::Run, "run_id"),
    (NameKind::Tags, "tags_id"),
    (NameKind::PromptName, "prompt_name_id"),
];

impl Store {
    /// How often names were erased from this ledger: a running node looks, since its journal has them too.
    pub fn erasures(&self) -> Result<u64, StoreError> {
        let count = self.connection.query_row("SELECT count(*) FROM erasures", [], |row| row.get::<_, i64>(0));
        count.map(i64::unsigned_abs).map_err(StoreError::sqlite("count who was erased"))
    }

    /// Erases whoever has this name. `dry`: only counts. A name that nobody has erases nothing.
    /// `actor` is who does it, for the audit log, by whose new line a running node sees that its keyring has changed.
    pub fn erase(
        &mut self,
        subject: Subject,
        name: &str,
        (now, actor): (Timestamp, &str),
        dry: bool,
    ) -> Result<Erased, StoreError> {
        let erasing = StoreError::sqlite("erase names");
        self.connection.pragma_update(None, "secure_delete", "ON").map_err(&erasing)?;
        let erased = erase(&mut self.connection, subject, name, (now, actor), dry).map_err(&erasing)?;
        self.interner.forget();
        self.truncate_log()?;
        Ok(erased)
    }

    /// Erases everyone who was erased in another ledger and is still, or again, in this one: after a restore.
    pub fn erase_as_in(&mut self, other: &super::Reader, by: (Timestamp, &str)) -> Result<Erased, StoreError> {
        let reading = StoreError::sqlite("read who was erased");
        let list = other.with(|connection| erasures(connection).map_err(&reading))?;
        let mut all = Erased::default();
        for subject in [Subject::User, Subject::EndUser, Subject::Session, Subject::Metadata] {
            let names = names_of(&self.connection, subject).map_err(&reading)?;
            let gone = |name: &String| list.iter().any(|erasure| erasure.is_of(subject, name));
            for name in names.iter().filter(|name| gone(name)) {
                let erased = self.erase(subject, name, by, false)?;
                all = Erased { events: all.events + erased.events, names: all.names + erased.names };
            }
        }
        Ok(all)
    }

    /// The write-ahead log still holds the old pages: it is folded in and emptied.
    fn truncate_log(&mut self) -> Result<(), StoreError> {
        self.connection
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
            .map_err(StoreError::sqlite("empty the write-ahead log"))
    }
}

fn erase(
    connection: &mut Connection,
    subject: Subject,
    name: &str,
    (now, actor): (Timestamp, &str),
    dry: bool,
) -> rusqlite::Result<Erased> {
    let transaction = write_transaction(connection)?;
    let mut ids = HashSet::new();
    for kind in subject.kinds() {
        let mut read = transaction.prepare_cached("SELECT id FROM names WHERE kind = ?1 AND text = ?2")?;
        ids.extend(read.query_map(params![*kind as u8, name], |row| row.get::<_, i64>(0))?.flatten());
    }
    let asked_for = ids.iter().copied().min();
    let (theirs, of_others, events) =
        if ids.is_empty() { Default::default() } else { apart(&transaction, subject, &ids)? };
    ids.extend(theirs.difference(&of_others).filter(|id| **id != super::names::NOBODY));
    let scopes = scopes::rewritten(&transaction, subject, name, &ids)?;
    let only_in_scopes = u64::from(ids.is_empty() && !scopes.is_empty());
    let erased = Erased { events: events.len() as u64, names: ids.len() as u64 + only_in_scopes };
    if dry || erased.names == 0 {
        return Ok(erased);
    }
    scopes.write(&transaction, now)?;
    let asked_for = match asked_for {
        Some(id) => id,
        None => {
            let kind = NameKind::User as u8;
            transaction.execute("INSERT INTO names (kind, text) VALUES (?1, ?2)", params![kind, scopes.by])?;
            transaction.last_insert_rowid()
        }
    };
    unname(&transaction, &ids, &events)?;
    list(&transaction, subject, name, now)?;
    let detail = serde_json::json!({ "events": erased.events, "names": erased.names }).to_string();
    super::audit::append(&transaction, now, actor, "erase", asked_for, &detail)?;
    transaction.commit()?;
    Ok(erased)
}

/// The names are called something else, and of the events what their callers made up goes.
fn unname(connection: &Connection, ids: &HashSet<i64>, events: &[i64]) -> rusqlite::Result<()> {
    for id in ids {
        // Tags are read as JSON.
        connection
            .prepare_cached(
                "UPDATE names SET text = iif(kind = ?2, json_object('erased', CAST(id AS TEXT)), 'erased-' || id) WHERE id = ?1",
            )?
            .execute(params![id, NameKind::Tags as u8])?;
        // Who comes again by an identity provider is somebody new.
        connection.prepare_cached("DELETE FROM identities WHERE user = ?1")?.execute([id])?;
    }
    for id in events {
        connection
            .prepare_cached(
                "UPDATE events SET client_request_id = NULL WHERE id = ?1 AND client_request_id IS NOT NULL",
            )?
            .execute([id])?;
    }
    Ok(())
}

/// For backups of before.
fn list(connection: &Connection, subject: Subject, name: &str, now: Timestamp) -> rusqlite::Result<()> {
    for mark in subject.marks() {
        let salt: [u8; 16] = connection.query_row("SELECT randomblob(16)", [], |row| row.get(0))?;
        let digest = digest(&salt, mark, name);
        connection.execute(
            "INSERT INTO erasures (at_us, kind, salt, digest) VALUES (?1, ?2, ?3, ?4)",
            params![now.as_micros(), mark, salt, digest],
        )?;
    }
    Ok(())
}

/// The names in the subject's events, those in everyone else's, and the subject's events. One pass over all.
fn apart(
    connection: &Connection,
    subject: Subject,
    ids: &HashSet<i64>,
) -> rusqlite::Result<(HashSet<i64>, HashSet<i64>, Vec<i64>)> {
    let columns = ALONG.map(|(_, column)| column).join(", ");
    let is_theirs = |kind: NameKind| subject.kinds().contains(&kind);
    let (mut theirs, mut of_others, mut events) = (HashSet::new(), HashSet::new(), Vec::new());
    let mut read = connection.prepare(&format!("SELECT id, {columns} FROM events"))?;
    let mut rows = read.query([])?;
    while let Some(row) = rows.next()? {
        let mut named = [0i64; ALONG.len()];
        for (place, id) in named.iter_mut().enumerate() {
            *id = row.get(1 + place)?;
        }
        let own = ALONG.iter().zip(&named).any(|((kind, _), id)| is_theirs(*kind) && ids.contains(id));
        if own {
            events.push(row.get(0)?);
            // A session's user is a person of his own.
            let along = ALONG.iter().zip(named).filter(|((kind, _), _)| {
                subject == Subject::User || !matches!(kind, NameKind::User | NameKind::EndUser)
            });
            theirs.extend(along.map(|(_, id)| id));
        } else {
            of_others.extend(named);
        }
    }
    Ok((theirs, of_others, events))
}

/// Someone on the list.
struct Erasure {
    kind: u8,
    salt: Vec<u8>,
    digest: Vec<u8>,
}

impl Erasure {
    fn is_of(&self, subject: Subject, name: &str) -> bool {
        subject.marks().first() == Some(&self.kind) && digest(&self.salt, self.kind, name).as_slice() == self.digest
    }
}

fn digest(salt: &[u8], kind: u8, name: &str) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(salt);
    hasher.update(&[kind]);
    hasher.update(name.as_bytes());
    *hasher.finalize().as_bytes()
}

fn erasures(connection: &Connection) -> rusqlite::Result<Vec<Erasure>> {
    // A ledger of before this table has erased nobody.
    let exists = "SELECT count(*) FROM sqlite_schema WHERE name = 'erasures'";
    if connection.query_row(exists, [], |row| row.get::<_, i64>(0))? == 0 {
        return Ok(Vec::new());
    }
    let mut read = connection.prepare("SELECT kind, salt, digest FROM erasures")?;
    let rows = read.query_map([], |row| Ok(Erasure { kind: row.get(0)?, salt: row.get(1)?, digest: row.get(2)? }))?;
    rows.collect()
}

fn names_of(connection: &Connection, subject: Subject) -> rusqlite::Result<Vec<String>> {
    let Some(kind) = subject.kinds().first() else { return scopes::in_metadata(connection) };
    let mut read = connection.prepare("SELECT text FROM names WHERE kind = ?1")?;
    let names = read.query_map([*kind as u8], |row| row.get(0))?;
    names.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Event;
    use crate::store::fixtures::{NOON, call, daily, later, open_accounts};
    use crate::store::{EventQuery, JournalPosition, Order, Reader};
    use std::sync::Arc;

    fn said(mut event: Event, session: &str, tag: &str) -> Event {
        let said = Arc::make_mut(&mut event.opening.attribution);
        (said.session, said.tags) = (Some(session.into()), vec![("feature".into(), tag.into())]);
        event.opening.client_request_id = Some("req-of-hers".into());
        event
    }

    fn ledger() -> (tempfile::TempDir, Store) {
        let dir = tempfile::tempdir().unwrap();
        let mut store = Store::open(dir.path(), NOON).unwrap();
        let events = [
            said(call(NOON, 0).by("ann", "key-1"), "anns-session", "shared"),
            said(call(later(1), 0).by("ann", "key-1"), "common-session", "hers"),
            said(call(later(2), 0).by("bob", "key-1"), "common-session", "shared"),
        ];
        store.fold(1, &events, JournalPosition { segment: 1, offset: 1 }).unwrap();
        (dir, store)
    }

    fn rows(dir: &tempfile::TempDir) -> Vec<crate::store::EventRow> {
        let query = EventQuery { order: Order::OldestFirst, limit: 10, ..EventQuery::default() };
        Reader::open(dir.path()).unwrap().events(&query).unwrap()
    }

    fn bytes_hold(dir: &tempfile::TempDir, text: &str) -> bool {
        let files = std::fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().path());
        files
            .filter(|path| path.is_file())
            .any(|path| memchr::memmem::find(&std::fs::read(path).unwrap(), text.as_bytes()).is_some())
    }

    #[test]
    fn a_person_is_gone_with_what_only_that_person_named_and_the_sums_stay() {
        let (dir, mut store) = ledger();
        store.flush_rollups().unwrap();
        assert_eq!(store.erase(Subject::User, "ann", (NOON, "test"), true).unwrap(), Erased { events: 2, names: 3 });
        assert_eq!(rows(&dir)[0].user.as_deref(), Some("ann"), "a dry run changes nothing");
        let erased = store.erase(Subject::User, "ann", (NOON, "test"), false).unwrap();
        assert_eq!(erased, Erased { events: 2, names: 3 });
        let rows = rows(&dir);
        assert!(rows[0].user.as_deref().unwrap().starts_with("erased-"));
        assert_eq!(
            (rows[0].tags.as_deref(), rows[1].session.as_deref()),
            (rows[2].tags.as_deref(), Some("common-session"))
        );
        assert!(rows[1].tags.as_deref().unwrap().starts_with("{\"erased\":"));
        assert_eq!(
            (rows[0].client_request_id.as_deref(), rows[2].client_request_id.as_deref()),
            (None, Some("req-of-hers"))
        );
        assert_eq!((rows[2].user.as_deref(), rows[0].cost), (Some("bob"), rows[2].cost));
        assert!(store.verify(&mut |_| {}).unwrap().is_clean());
        for gone in ["ann\"", "anns-session", "hers\""] {
            assert!(!bytes_hold(&dir, gone), "{gone} is still in a file");
        }
    }

    #[test]
    fn budgets_that_count_by_a_name_count_on_without_it() {
        let (dir, mut store) = ledger();
        let instances =
            ["team=ann user=ann", "user=bob", "session=anns-session"].map(|scope| daily("each", scope, 1_000));
        open_accounts(dir.path(), &instances.iter().collect::<Vec<_>>());
        store.erase(Subject::User, "ann", (NOON, "test"), false).unwrap();
        let accounts =
            Reader::open(dir.path()).unwrap().budget_accounts(&crate::store::AccountQuery::default()).unwrap();
        let mut left: Vec<_> = accounts.iter().map(|account| account.scope.to_string()).collect();
        left.sort();
        assert!(left[0].starts_with("session=erased-") && left[1].starts_with("team=ann user=erased-"), "{left:?}");
        assert_eq!(left[2], "user=bob");
        assert!(!bytes_hold(&dir, "user=ann") && !bytes_hold(&dir, "anns-session"));
        let mut leases = crate::store::Leases::open(dir.path(), NOON).unwrap();
        let want = crate::budget::book::Want { instance: Arc::clone(&instances[0]), amount: 10 };
        let again = leases.exchange(1, &[], &[], &[(want, Arc::clone(&instances[0].budget))], NOON).unwrap();
        assert_eq!((again.granted.len(), again.mistaken.len()), (1, 0), "she may come again");
    }

    #[test]
    fn budgets_that_count_by_a_tag_of_hers_alone_count_on_without_it() {
        let (dir, mut store) = ledger();
        let scopes = ["tag.feature=hers", "tag.feature=shared", "tag.other=hers"];
        let instances = scopes.map(|scope| daily("each", scope, 1_000));
        open_accounts(dir.path(), &instances.iter().collect::<Vec<_>>());
        store.erase(Subject::User, "ann", (NOON, "test"), false).unwrap();
        let accounts =
            Reader::open(dir.path()).unwrap().budget_accounts(&crate::store::AccountQuery::default()).unwrap();
        let mut left: Vec<_> = accounts.iter().map(|account| account.scope.to_string()).collect();
        left.sort();
        assert!(left[0].starts_with("tag.feature=erased-"), "{left:?}");
        assert_eq!(left[1..], ["tag.feature=shared", "tag.other=hers"], "Bob's, and another tag's");
    }

    #[test]
    fn a_value_of_metadata_is_erased_by_its_name_and_where_it_is_the_persons() {
        let (dir, mut store) = ledger();
        let scopes = ["metadata.patient=ann", "metadata.patient=j%20d", "metadata.other=j%20d", "team=ann"];
        let instances = scopes.map(|scope| daily("each", scope, 1_000));
        open_accounts(dir.path(), &instances.iter().collect::<Vec<_>>());
        let left = || {
            let accounts = Reader::open(dir.path()).unwrap().budget_accounts(&crate::store::AccountQuery::default());
            let mut left: Vec<_> = accounts.unwrap().iter().map(|account| account.scope.to_string()).collect();
            left.sort();
            left
        };
        assert_eq!(
            store.erase(Subject::Metadata, "metadata.patient=j%20d", (NOON, "test"), false).unwrap(),
            Erased { events: 0, names: 1 }
        );
        assert_eq!(left()[..2], ["metadata.other=j%20d", "metadata.patient=ann"]);
        store.erase(Subject::User, "ann", (NOON, "test"), false).unwrap();
        let left = left();
        assert!(left[1..3].iter().all(|scope| scope.starts_with("metadata.patient=erased-")), "{left:?}");
        assert_ne!(left[1], left[2], "two people stay two");
        let nobody = store.erase(Subject::Metadata, "metadata.patient=nobody", (NOON, "test"), false).unwrap();
        assert_eq!(nobody, Erased::default());
    }

    #[test]
    fn a_budget_that_was_made_over_the_api_forgets_the_name_also_of_whoever_never_called() {
        let (dir, mut store) = ledger();
        let body = |scope: serde_json::Value| {
            let body =
                serde_json::json!({ "name": "b", "scope": scope, "except": { "user": "eve" }, "limit": "1 USD" });
            body.as_object().cloned().unwrap()
        };
        let made = body(serde_json::json!({ "user": ["ann", "bob", "eve*"], "team": "ann", "metadata.of": "ann" }));
        store.change(NOON, "test", |changes| changes.set_own_budget("b", &made)).unwrap();
        for name in ["ann", "eve"] {
            assert!(store.erase(Subject::User, name, (NOON, "test"), false).unwrap().names > 0, "{name}");
        }
        let kept = Reader::open(dir.path()).unwrap().own_rules().unwrap().budgets.remove(0).body;
        let user = kept["scope"]["user"].as_array().unwrap();
        assert!(user[0].as_str().unwrap().starts_with("erased-") && user[1..] == ["bob", "eve*"], "{kept:?}");
        assert_eq!(kept["scope"]["team"], "ann", "a team is no person");
        for erased in [&kept["scope"]["metadata.of"], &kept["except"]["user"]] {
            assert!(erased.as_str().unwrap().starts_with("erased-"), "{kept:?}");
        }
    }

    #[test]
    fn a_server_beside_gives_a_name_that_comes_again_a_number_of_its_own() {
        let (dir, mut server) = ledger();
        let mut beside = Store::open(dir.path(), NOON).unwrap();
        beside.erase(Subject::User, "ann", (NOON, "test"), false).unwrap();
        server.fold(1, &[call(later(9), 0).by("ann", "key-1")], JournalPosition { segment: 1, offset: 2 }).unwrap();
        let rows = rows(&dir);
        assert_eq!((rows[3].user.as_deref(), rows[0].user == rows[3].user), (Some("ann"), false));
    }

    #[test]
    fn a_restored_ledger_is_put_right_by_the_list_of_a_later_one() {
        let (later_dir, mut later_store) = ledger();
        later_store.erase(Subject::User, "ann", (NOON, "test"), false).unwrap();
        let (restored_dir, mut restored) = ledger();
        let list = Reader::open(later_dir.path()).unwrap();
        assert_eq!(restored.erase_as_in(&list, (NOON, "test")).unwrap().names, 3);
        assert!(rows(&restored_dir).iter().all(|row| row.user.as_deref() != Some("ann")));
        assert_eq!(restored.erase_as_in(&list, (NOON, "test")).unwrap(), Erased::default());
    }

    #[test]
    fn a_name_that_nobody_has_erases_nothing() {
        let (_dir, mut store) = ledger();
        assert_eq!(store.erase(Subject::Session, "nobodys", (NOON, "test"), false).unwrap(), Erased::default());
        assert_eq!(store.erase(Subject::Session, "anns-session", (NOON, "test"), false).unwrap().events, 1);
    }
}
