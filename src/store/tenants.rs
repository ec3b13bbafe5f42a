//! Reading tenants, virtual keys, and the keyring that calls are looked up in.

use super::names::NameKind;
use super::{Reader, StoreError};
use crate::clock::Timestamp;
use crate::tenants::{
    Caller, Closed, Credential, Digest, KeySecret, Keyring, Pepper, Permissions, Tags, Tenant, TenantKind, VirtualKey,
};
use rusqlite::{Connection, OptionalExtension, Row, params};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Whose keys are asked for.
#[derive(Clone, Copy, Debug)]
pub enum Holder<'a> {
    Anyone,
    /// Of this tenant and of all below it; of a user: those made out to him.
    Tenant(TenantKind, &'a str),
}

impl Reader {
    /// Tenants of a kind by name, those of one parent or all; with the deleted ones, or without.
    pub fn tenants(&self, kind: TenantKind, of: Option<&str>, deleted: bool) -> Result<Vec<Tenant>, StoreError> {
        self.with(|connection| tenants(connection, kind, of, deleted).map_err(StoreError::sqlite("read tenants")))
    }

    pub fn tenant(&self, kind: TenantKind, name: &str) -> Result<Option<Tenant>, StoreError> {
        self.with(|connection| tenant(connection, kind, name).map_err(StoreError::sqlite("read a tenant")))
    }

    /// Virtual keys by name; with the deleted ones, or without.
    pub fn virtual_keys(&self, of: Holder<'_>, deleted: bool) -> Result<Vec<VirtualKey>, StoreError> {
        self.with(|connection| {
            let house = House::read(connection).map_err(StoreError::sqlite("read tenants"))?;
            let mut keys = house.keys(connection, None).map_err(StoreError::sqlite("read keys"))?;
            keys.retain(|key| (deleted || key.deleted_at.is_none()) && of.has(key));
            Ok(keys)
        })
    }

    pub fn virtual_key(&self, name: &str) -> Result<Option<VirtualKey>, StoreError> {
        self.with(|connection| {
            let house = House::read(connection).map_err(StoreError::sqlite("read tenants"))?;
            let mut keys = house.keys(connection, Some(name)).map_err(StoreError::sqlite("read keys"))?;
            Ok(keys.pop())
        })
    }

    /// Grows with every change of tenants and keys; cheap to ask.
    pub fn tenants_generation(&self) -> Result<u64, StoreError> {
        self.with(|connection| generation(connection).map_err(StoreError::sqlite("read the tenants' generation")))
    }

    /// All keys that are not deleted.
    pub fn keyring(&self, pepper: Pepper) -> Result<Keyring, StoreError> {
        self.with(|connection| keyring(connection, pepper).map_err(StoreError::sqlite("read the keys")))
    }
}

impl Holder<'_> {
    fn has(self, key: &VirtualKey) -> bool {
        let Holder::Tenant(kind, name) = self else { return true };
        let place = match kind {
            TenantKind::Organisation => Some(&key.organisation),
            TenantKind::Team => key.team.as_ref(),
            TenantKind::Project => key.project.as_ref(),
            TenantKind::User => key.user.as_ref(),
        };
        place.is_some_and(|place| **place == *name)
    }
}

impl TenantKind {
    pub(super) fn name_kind(self) -> NameKind {
        match self {
            TenantKind::Organisation => NameKind::Organisation,
            TenantKind::Team => NameKind::Team,
            TenantKind::Project => NameKind::Project,
            TenantKind::User => NameKind::User,
        }
    }
}

const TENANT_COLUMNS: &str = "SELECT n.text, p.text, t.created_us, t.disabled_us, t.deleted_us, t.keep_days
     FROM tenants t JOIN names n ON n.id = t.id LEFT JOIN names p ON p.id = t.parent";

fn tenants(
    connection: &Connection,
    kind: TenantKind,
    of: Option<&str>,
    deleted: bool,
) -> rusqlite::Result<Vec<Tenant>> {
    let sql = format!(
        "{TENANT_COLUMNS} WHERE t.kind = ?1 AND (?2 IS NULL OR p.text = ?2) AND (?3 OR t.deleted_us IS NULL)
         ORDER BY n.text"
    );
    let mut statement = connection.prepare_cached(&sql)?;
    let rows = statement.query_map(params![kind.name_kind() as u8, of, deleted], |row| read_tenant(row, kind))?;
    rows.collect()
}

fn tenant(connection: &Connection, kind: TenantKind, name: &str) -> rusqlite::Result<Option<Tenant>> {
    let sql = format!("{TENANT_COLUMNS} WHERE n.kind = ?1 AND n.text = ?2");
    let mut statement = connection.prepare_cached(&sql)?;
    statement.query_row(params![kind.name_kind() as u8, name], |row| read_tenant(row, kind)).optional()
}

fn read_tenant(row: &Row<'_>, kind: TenantKind) -> rusqlite::Result<Tenant> {
    Ok(Tenant {
        kind,
        name: row.get(0)?,
        parent: row.get(1)?,
        created_at: Timestamp(row.get(2)?),
        disabled_at: moment(row, 3)?,
        deleted_at: moment(row, 4)?,
        keep_days: row.get(5)?,
    })
}

pub(super) fn moment(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<Timestamp>> {
    Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp))
}

pub(super) fn generation(connection: &Connection) -> rusqlite::Result<u64> {
    let mut statement = connection.prepare_cached("SELECT ifnull(max(id), 0) FROM audit")?;
    statement.query_row([], |row| row.get::<_, i64>(0)).map(i64::unsigned_abs)
}

/// Every tenant by its number: what keys hang from.
pub(super) struct House {
    rooms: HashMap<i64, Room>,
}

struct Room {
    kind: u8,
    name: Arc<str>,
    parent: Option<i64>,
    shut: bool,
}

/// Where a key hangs: its caller's tenants, and what of it is disabled, outermost last.
#[derive(Clone, Default)]
pub(super) struct Spot {
    pub(super) caller: Caller,
    shut: Option<Closed>,
}

impl House {
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<House> {
        let sql = "SELECT t.id, t.kind, n.text, t.parent, t.disabled_us IS NOT NULL OR t.deleted_us IS NOT NULL
                   FROM tenants t JOIN names n ON n.id = t.id";
        let mut statement = connection.prepare_cached(sql)?;
        let room = |row: &Row<'_>| {
            Ok((row.get(0)?, Room { kind: row.get(1)?, name: row.get(2)?, parent: row.get(3)?, shut: row.get(4)? }))
        };
        Ok(House { rooms: statement.query_map([], room)?.collect::<rusqlite::Result<_>>()? })
    }

    pub(super) fn place(&self, holder: i64, user: Option<i64>) -> Spot {
        let mut place = Spot::default();
        let mut at = Some(holder);
        // Project, team, organisation.
        for _ in 0..3 {
            let Some(room) = at.and_then(|id| self.rooms.get(&id)) else { break };
            place.enter(room);
            at = room.parent;
        }
        if let Some(room) = user.and_then(|id| self.rooms.get(&id)) {
            place.enter(room);
        }
        place
    }

    fn keys(&self, connection: &Connection, name: Option<&str>) -> rusqlite::Result<Vec<VirtualKey>> {
        self.keys_behind(connection, name, "", usize::MAX, &|_| true)
    }

    /// By name: those behind `after` that are to be kept, so many of them.
    pub(super) fn keys_behind(
        &self,
        connection: &Connection,
        name: Option<&str>,
        after: &str,
        limit: usize,
        keep: &dyn Fn(&VirtualKey) -> bool,
    ) -> rusqlite::Result<Vec<VirtualKey>> {
        let sql = "SELECT k.id, n.text, k.holder, k.user, k.permissions, k.tags, k.created_us, k.not_after_us,
                          k.disabled_us, k.deleted_us, k.limits
                   FROM virtual_keys k JOIN names n ON n.id = k.id WHERE (?1 IS NULL OR n.text = ?1) AND n.text > ?2 ORDER BY n.text";
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map(params![name, after], |row| {
            let Spot { caller: place, shut } = self.place(row.get(2)?, row.get(3)?);
            let disabled_at = moment(row, 8)?;
            let key = VirtualKey {
                name: row.get(1)?,
                organisation: place.organisation.unwrap_or_default(),
                team: place.team,
                project: place.project,
                user: place.user,
                permissions: serde_json::from_str(&row.get::<_, String>(4)?).unwrap_or_default(),
                limits: super::own_rules::limits(row, 10)?,
                tags: tags_of(&row.get::<_, String>(5)?),
                created_at: Timestamp(row.get(6)?),
                not_after: moment(row, 7)?,
                disabled_at,
                deleted_at: moment(row, 9)?,
                closed: disabled_at.map(|_| Closed::Key).or(shut),
                secrets: Vec::new(),
            };
            Ok((row.get::<_, i64>(0)?, key))
        })?;
        let mut keys = Vec::new();
        for row in rows {
            let (id, mut key) = row?;
            if !keep(&key) {
                continue;
            }
            if keys.len() >= limit {
                break;
            }
            key.secrets = secrets(connection, id)?;
            keys.push(key);
        }
        Ok(keys)
    }
}

impl Spot {
    fn enter(&mut self, room: &Room) {
        let kind = TenantKind::ALL.into_iter().find(|kind| kind.name_kind() as u8 == room.kind);
        let (name, closed) = match kind {
            Some(TenantKind::Organisation) => (&mut self.caller.organisation, Closed::Organisation),
            Some(TenantKind::Team) => (&mut self.caller.team, Closed::Team),
            Some(TenantKind::Project) => (&mut self.caller.project, Closed::Project),
            Some(TenantKind::User) => (&mut self.caller.user, Closed::User),
            None => return,
        };
        *name = Some(Arc::clone(&room.name));
        if room.shut {
            self.shut = Some(closed);
        }
    }
}

fn secrets(connection: &Connection, key: i64) -> rusqlite::Result<Vec<KeySecret>> {
    let sql = "SELECT prefix, created_us, not_after_us FROM key_secrets WHERE key = ?1
               ORDER BY not_after_us IS NOT NULL, created_us DESC";
    let mut statement = connection.prepare_cached(sql)?;
    let rows = statement.query_map([key], |row| {
        Ok(KeySecret { prefix: row.get(0)?, created_at: Timestamp(row.get(1)?), not_after: moment(row, 2)? })
    })?;
    rows.collect()
}

fn keyring(connection: &Connection, pepper: Pepper) -> rusqlite::Result<Keyring> {
    // One snapshot for the keys and the generation that they are of.
    let snapshot = connection.unchecked_transaction()?;
    let house = House::read(&snapshot)?;
    let mut shared = Shared::default();
    let mut statement = snapshot.prepare_cached(
        "SELECT k.id, n.text, k.holder, k.user, k.permissions, k.tags, k.not_after_us, k.disabled_us IS NOT NULL
         FROM virtual_keys k JOIN names n ON n.id = k.id WHERE k.deleted_us IS NULL",
    )?;
    let mut keys: HashMap<i64, Arc<Credential>> = HashMap::new();
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let (holder, user): (i64, Option<i64>) = (row.get(2)?, row.get(3)?);
        let place = shared.places.entry((holder, user)).or_insert_with(|| house.place(holder, user));
        let (caller, shut) = (Caller { key: Some(row.get(1)?), ..place.caller.clone() }, place.shut);
        let permissions = shared.permissions(row.get_ref(4)?.as_str()?);
        let unreadable = permissions.is_none().then_some(Closed::Unreadable);
        let disabled = row.get::<_, bool>(7)?.then_some(Closed::Key);
        let credential = Credential {
            caller: Arc::new(caller),
            tags: shared.tags(row.get_ref(5)?.as_str()?),
            permissions: permissions.unwrap_or_default(),
            not_after: moment(row, 6)?,
            closed: disabled.or(shut).or(unreadable),
        };
        keys.insert(row.get(0)?, Arc::new(credential));
    }
    let mut statement = snapshot.prepare_cached("SELECT digest, key, not_after_us FROM key_secrets")?;
    let mut rows = statement.query([])?;
    let mut credentials = Vec::with_capacity(keys.len());
    while let Some(row) = rows.next()? {
        let Some(credential) = keys.get(&row.get::<_, i64>(1)?) else { continue };
        let digest = Digest(row.get(0)?);
        let credential = match moment(row, 2)? {
            None => Arc::clone(credential),
            Some(end) => {
                let not_after = Some(credential.not_after.map_or(end, |own| own.min(end)));
                Arc::new(Credential { not_after, ..Credential::clone(credential) })
            }
        };
        credentials.push((digest, credential));
    }
    Ok(Keyring::new(pepper, credentials, generation(&snapshot)?))
}

/// What many keys have alike is kept once.
#[derive(Default)]
struct Shared {
    places: HashMap<(i64, Option<i64>), Spot>,
    permissions: HashMap<String, Arc<Permissions>>,
    tags: HashMap<String, Arc<Tags>>,
}

impl Shared {
    /// `None`: a newer farebox wrote them, and what this one cannot read it must not leave out.
    fn permissions(&mut self, text: &str) -> Option<Arc<Permissions>> {
        if let Some(known) = self.permissions.get(text) {
            return Some(Arc::clone(known));
        }
        let read: Arc<Permissions> = Arc::new(serde_json::from_str(text).ok()?);
        self.permissions.insert(text.to_owned(), Arc::clone(&read));
        Some(read)
    }

    fn tags(&mut self, text: &str) -> Arc<Tags> {
        if let Some(known) = self.tags.get(text) {
            return Arc::clone(known);
        }
        let read = Arc::new(tags_of(text));
        self.tags.insert(text.to_owned(), Arc::clone(&read));
        read
    }
}

fn tags_of(text: &str) -> Tags {
    let tags: BTreeMap<String, String> = serde_json::from_str(text).unwrap_or_default();
    tags.into_iter().map(|(name, value)| (name.into(), value.into())).collect()
}

#[cfg(test)]
mod tests;
