//! Of what people come in by.

use super::{list_of, maybe, moment, name, object, text};
use serde_json::{Value, json};

pub(super) fn logins() -> Value {
    let session = json!({
        "object": { "const": "session" },
        "id": { "type": "integer" },
        "user": { "type": "string" },
        "opened_from": { "type": "string", "description": "The address that it was opened from" },
        "created_at": moment(),
        "expires_at": moment(),
    });
    let mut opened = session.clone();
    opened["csrf_token"] = json!({ "type": "string", "description": "To be sent as `x-csrf-token` with each write" });
    let always = ["object", "id", "user", "opened_from", "created_at", "expires_at"];
    let password = json!({ "type": "string", "minLength": 12, "maxLength": 512 });
    let mut all = json!({
        "NewSession": object(&["user", "password"], json!({
            "user": text(), "password": text(), "code": maybe(text()),
        })),
        "FirstOwner": object(&["token", "user", "password"], json!({
            "token": text(), "user": name(), "password": password.clone(), "organisation": maybe(name()),
        })),
        "Session": object(&always, session),
        "OpenedSession": object(&always, opened),
        "SessionList": list_of("Session"),
        "NewPassword": object(&["password"], json!({ "password": password.clone(), "current_password": maybe(text()) })),
        "NewInvitation": object(&[], json!({ "expires_at": maybe(moment()) })),
        "Invitation": object(&["object", "user", "created_at", "expires_at", "link"], json!({
            "object": { "const": "invitation" }, "user": { "type": "string" }, "created_at": moment(),
            "expires_at": moment(),
            "link": { "type": ["string", "null"],
                "description": "The path of a page of this port; shown this once, null when the request is repeated" },
        })),
        "AcceptInvitation": object(&["token", "password"], json!({ "token": text(), "password": password })),
        "Usage": { "type": "object", "description": "As docs/ledger.md says of the same paths under `/api/usage`" },
    });
    if let (Value::Object(all), Value::Object(further)) = (&mut all, second_factors()) {
        all.extend(further);
    }
    all
}

fn second_factors() -> Value {
    let factor = json!({
        "object": { "const": "second_factor" },
        "user": { "type": "string" },
        "confirmed_at": maybe(moment()),
    });
    let mut begun = factor.clone();
    begun["secret"] = json!({ "type": "string", "description": "To be typed into an authenticator app" });
    begun["uri"] = json!({ "type": "string", "description": "`otpauth://…`, to be shown as a QR code" });
    let always = ["object", "user", "confirmed_at"];
    json!({
        "NewSecondFactor": object(&[], json!({ "current_password": maybe(text()) })),
        "SecondFactor": object(&always, factor),
        "BegunSecondFactor": object(&[&always[..], &["secret", "uri"]].concat(), begun),
        "Code": object(&["code"], json!({ "code": text() })),
        "MaybeCode": object(&[], json!({ "code": maybe(text()) })),
    })
}
