//! How people come in: the first owner, invitations, passwords, sessions, second factors.

use super::super::Act::{Read, Write};
use super::super::{Endpoint, invitations, second_factors, sessions};
use super::{USER, row};
use crate::tenants::Action;

const SESSIONS: &str = "/api/v1/sessions";
const SESSIONS_OF: &str = "/api/v1/users/{name}/sessions";
const INVITATION: &str = "/api/v1/users/{name}/invitation";
const SECOND_FACTOR: &str = "/api/v1/users/{name}/second-factor";

pub(super) static LOGINS: [Endpoint; 14] = [
    row(
        "POST",
        "/api/v1/owner",
        "make_first_owner",
        "Make the first owner, with the token of the start",
        Write(sessions::first_owner),
    )
    .open()
    .reads("FirstOwner")
    .answers(201, "Tenant"),
    row("POST", SESSIONS, "open_session", "Log in with a password", Read(sessions::open))
        .open()
        .reads("NewSession")
        .answers(201, "OpenedSession"),
    row("GET", SESSIONS, "list_sessions", "Your own sessions", Read(sessions::list)).answers(200, "SessionList"),
    row(
        "DELETE",
        "/api/v1/sessions/{session}",
        "end_session",
        "End a session of your own; `current` is the one that asks",
        Write(sessions::end),
    )
    .answers(204, ""),
    row("GET", SESSIONS_OF, "list_user_sessions", "The sessions of a user of yours", Read(sessions::list))
        .about(USER, Action::MakeUsers)
        .answers(200, "SessionList"),
    row(
        "DELETE",
        "/api/v1/users/{name}/sessions/{session}",
        "end_user_session",
        "End a session of a user of yours",
        Write(sessions::end_of_user),
    )
    .about(USER, Action::MakeUsers)
    .answers(204, ""),
    row(
        "PUT",
        "/api/v1/users/{name}/password",
        "set_password",
        "Set your password, or reset that of a user of yours; ends his sessions",
        Read(sessions::set_password),
    )
    .about(USER, Action::MakeUsers)
    .reads("NewPassword")
    .answers(204, ""),
    row(
        "POST",
        INVITATION,
        "invite_user",
        "A link by which a user sets his password, once",
        Write(invitations::create),
    )
    .about(USER, Action::MakeUsers)
    .reads("NewInvitation")
    .answers(201, "Invitation"),
    row("DELETE", INVITATION, "end_invitation", "Take an invitation back", Write(invitations::end))
        .about(USER, Action::MakeUsers)
        .answers(204, ""),
    row(
        "POST",
        "/api/v1/invitations/accept",
        "accept_invitation",
        "Set a password by an invitation",
        Read(invitations::accept),
    )
    .open()
    .reads("AcceptInvitation")
    .answers(200, "Tenant"),
    row("GET", SECOND_FACTOR, "show_second_factor", "Whether a code is asked for", Read(second_factors::show))
        .about(USER, Action::MakeUsers)
        .answers(200, "SecondFactor"),
    row(
        "POST",
        SECOND_FACTOR,
        "begin_second_factor",
        "Begin your second factor; its secret is shown this once",
        Read(second_factors::begin),
    )
    .about(USER, Action::MakeUsers)
    .reads("NewSecondFactor")
    .answers(201, "BegunSecondFactor"),
    row(
        "PUT",
        SECOND_FACTOR,
        "confirm_second_factor",
        "Confirm your second factor with a first code; from then on one is asked for",
        Write(second_factors::confirm),
    )
    .about(USER, Action::MakeUsers)
    .reads("Code")
    .answers(200, "SecondFactor"),
    row(
        "DELETE",
        SECOND_FACTOR,
        "end_second_factor",
        "End your second factor with a code, or without one that of a user of yours",
        Write(second_factors::end),
    )
    .about(USER, Action::MakeUsers)
    .reads("MaybeCode")
    .answers(204, ""),
];
