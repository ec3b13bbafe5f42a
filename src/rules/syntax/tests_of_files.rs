//! The `tests:` of a file: sections → [`SelfTest`].

use super::keys;
use super::read::{Reader, need};
use super::scalar::DECISIONS;
use super::section::{Placed, Section};
use super::values;
use crate::clock::Timestamp;
use crate::dialects::Operation;
use crate::rules::field::{Field, Pattern};
use crate::rules::selftest::{Expected, Request, SelfTest};
use crate::tenants::{Attribution, Caller};
use std::sync::Arc;

/// Noon of a Wednesday in the middle of a month: 2026-06-17.
const USUAL_MOMENT: Timestamp = Timestamp(1_781_697_600_000_000);

impl Reader<'_> {
    pub(super) fn test(&mut self, section: &Section<'_>) {
        let name = section.or("name", String::new(), values::text);
        let given = section.section("given", &keys::GIVEN);
        let (mut test, place) =
            (SelfTest { name: name.into(), now: USUAL_MOMENT, ..SelfTest::default() }, section.place());
        test.place = format!("{}:{}", self.name, place.line).into();
        if let Some(given) = given {
            if let Some(caller) = given.section("caller", &keys::CALLER) {
                self.caller(&caller, &mut test);
            }
            if let Some(request) = given.section("request", &keys::REQUEST) {
                test.request = self.request(&request);
            }
            test.now = given.or("at", USUAL_MOMENT, values::moment(&self.zone));
            for entry in given.free("spent") {
                let amount = given.scalar(&entry.key, &entry.node, &values::amount);
                if let Some(Placed { value: (unit, amount), .. }) = amount {
                    self.written.places.spent.push((Arc::clone(&entry.key), unit, entry.place));
                    test.spent.push((Arc::clone(&entry.key), amount));
                }
            }
        }
        if let Some(expect) = section.section("expect", &keys::EXPECT) {
            test.expected = self.expected(&expect);
        }
        self.written.tests.push(test);
    }

    fn caller(&self, section: &Section<'_>, test: &mut SelfTest) {
        let (caller, said) = (&mut test.caller, &mut test.attribution);
        for (field, patterns) in self.scope(section) {
            let Some(Pattern::Exact(value)) = patterns.into_iter().next() else {
                section.notes().fault(
                    section.place(),
                    format!("a test's caller has one `{}`, written out", field.name()),
                    "write a single value without `*`",
                );
                continue;
            };
            if !say(&field, value, caller, said) {
                section.notes().fault(
                    section.place(),
                    format!("`{}` is not the caller's", field.name()),
                    "write it under `request:`",
                );
            }
        }
    }

    fn request(&mut self, section: &Section<'_>) -> Request {
        let whole = |key| section.value(key, values::whole(0, u64::MAX >> 1)).map(|placed| placed.value);
        let yes = |key, default| section.or(key, default, values::yes);
        let model = section.value("model", values::text);
        if let Some(model) = &model {
            self.written.places.models.push((model.value.as_str().into(), model.place));
        }
        Request {
            model: model.map(|model| model.value.into()),
            provider: self.provider(section, "provider"),
            operation: section.or("operation", Operation::Chat, operation),
            stream: yes("stream", false),
            input_tokens: whole("input_tokens").unwrap_or(1_000),
            output_limit: whole("output_limit"),
            choices: whole("choices").unwrap_or(1).max(1),
            needs: section.some("needs", need).unwrap_or_default().into_iter().map(|placed| placed.value).collect(),
            refuses_swaps: yes("no_swap", false),
            is_bounded: yes("bounded", true),
            is_metered: yes("metered", true),
        }
    }

    fn expected(&mut self, section: &Section<'_>) -> Expected {
        let text = |key| section.value(key, values::text).map(|placed| Arc::from(placed.value));
        let name = |text: &str| values::name(text).map(Arc::from);
        Expected {
            decision: section.or("decision", "", decision),
            rule: section.value("rule", name).map(|placed| placed.value),
            model: text("model"),
            provider: text("provider"),
            output_tokens: section.value("output_tokens", values::whole(0, u64::MAX >> 1)).map(|placed| placed.value),
            says: text("says"),
            warns: section.some("warns", name).unwrap_or_default().into_iter().map(|placed| placed.value).collect(),
        }
    }
}

fn decision(text: &str) -> values::Read<&'static str> {
    match DECISIONS.into_iter().find(|known| *known == text) {
        Some(known) => Ok(known),
        None => Err(values::Wrong {
            what: "is no decision".to_owned(),
            remedy: format!("write one of {}", DECISIONS.join(", ")),
        }),
    }
}

fn operation(text: &str) -> values::Read<Operation> {
    match Operation::ALL.into_iter().find(|operation| operation.name() == text) {
        Some(operation) => Ok(operation),
        None => Err(values::Wrong {
            what: "is no operation".to_owned(),
            remedy: format!("write one of {}", Operation::ALL.map(Operation::name).join(", ")),
        }),
    }
}

/// Whether the field is one of a caller's.
fn say(field: &Field, value: Arc<str>, caller: &mut Caller, said: &mut Attribution) -> bool {
    let place = match field {
        Field::Organisation => &mut caller.organisation,
        Field::Team => &mut caller.team,
        Field::Project => &mut caller.project,
        Field::Key => &mut caller.key,
        Field::User => &mut caller.user,
        Field::EndUser => &mut said.end_user,
        Field::Session => &mut said.session,
        Field::Run => &mut said.run,
        Field::Environment => &mut said.environment,
        Field::Prompt => &mut said.prompt_name,
        Field::Tag(tag) => {
            said.tags.push((Arc::clone(tag), value));
            return true;
        }
        Field::Metadata(_)
        | Field::Model
        | Field::RequestedModel
        | Field::Provider
        | Field::Operation
        | Field::Dialect => {
            return false;
        }
    };
    *place = Some(value);
    true
}
