use super::*;
use proptest::prelude::*;

fn names_and_values(body: &str) -> Result<Vec<(String, String)>, Broken> {
    let mut found = Vec::new();
    let mut reader = Reader::new(body.as_bytes());
    reader.object(|name, value| {
        let place = value.skip()?;
        found.push((name.to_owned(), body[place].to_owned()));
        Ok(())
    })?;
    reader.end()?;
    Ok(found)
}

#[test]
fn members_come_in_order_with_the_value_as_written() {
    let found = names_and_values("{ \"a\" : 1.50e+3 ,\"\\u0062\":[ 1,{}],\n\"a\":\"x\\\"y\" }").unwrap();
    let expected = [("a", "1.50e+3"), ("b", "[ 1,{}]"), ("a", "\"x\\\"y\"")];
    assert_eq!(found, expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
}

#[test]
fn a_value_of_another_type_is_passed_over_and_reading_goes_on() {
    let mut reader = Reader::new(br#"{"stream":"yes","n":[1],"user":7,"model":"m"}"#);
    let mut model = None;
    reader
        .object(|name, value| {
            match name {
                "stream" => assert_eq!(value.boolean()?, None),
                "n" => assert_eq!(value.units()?, None),
                "user" => assert_eq!(value.text()?, None),
                _ => model = value.text()?.map(|text| text.decode().into_owned()),
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(model.as_deref(), Some("m"));
}

#[test]
fn ten_thousand_levels_pass() {
    let body = format!("{{\"deep\":{}{},\"model\":\"m\"}}", "[{\"x\":".repeat(10_000), "0}]".repeat(10_000));
    assert_eq!(names_and_values(&body).map(|members| members.len()), Ok(2));
}

#[test]
fn what_is_too_deep_is_passed_over_so_that_readers_may_recurse() {
    fn depth(value: &mut Reader<'_>) -> Result<u32, Broken> {
        let mut deepest = 0;
        value.array(|element| {
            deepest = 1 + depth(element)?;
            Ok(())
        })?;
        Ok(deepest)
    }
    let body = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    let mut reader = Reader::new(body.as_bytes());
    assert_eq!((depth(&mut reader), reader.end()), (Ok(DEPTH_MAX), Ok(())));
}

#[test]
fn broken_text_says_where() {
    for (body, at) in [
        ("{\"a\":1", 6),
        ("{\"a\" 1}", 5),
        ("{\"a\":[1}]}", 7),
        ("{\"a\":\"x}", 5),
        ("{a:1}", 1),
        ("{\"a\":1,}", 7),
        ("{\"a\":}", 5),
        ("{} x", 3),
        ("", 0),
    ] {
        assert_eq!(names_and_values(body).map_err(|broken| broken.at), Err(at), "{body}");
    }
    assert_eq!(Broken { at: 9, expected: "" }.line_and_column(b"{\n \"a\":\n\n}"), (4, 1));
}

#[test]
fn numbers_of_units_are_whole_and_never_negative() {
    for (raw, units) in [("7", Some(7)), ("7.0", Some(7)), ("1e3", Some(1_000)), ("0.2", Some(1)), ("-1", None)] {
        assert_eq!(Reader::new(raw.as_bytes()).units(), Ok(units), "{raw}");
    }
    assert_eq!(Reader::new(b"18446744073709551615").units(), Ok(Some(u64::MAX)));
    assert_eq!(Reader::new(b"1e400").units(), Ok(None));
}

proptest! {
    #[test]
    fn strings_decode_as_serde_decodes_them_and_their_size_is_known(text in "\\PC{0,40}", ascii in any::<bool>()) {
        let mut body = serde_json::to_string(&text).unwrap();
        if ascii {
            body = body.chars().map(|c| if c.is_ascii() { c.to_string() } else {
                c.encode_utf16(&mut [0; 2]).iter().map(|unit| format!("\\u{unit:04X}")).collect()
            }).collect();
        }
        let read = Reader::new(body.as_bytes()).text().unwrap().unwrap();
        prop_assert_eq!(read.size(), text.len());
        prop_assert_eq!(read.place(), 0..body.len());
        prop_assert_eq!(read.decode(), text);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(body in proptest::collection::vec(any::<u8>(), 0..80)) {
        let mut reader = Reader::new(&body);
        let _ = reader.object(|_, value| {
            let _ = value.text()?.map(|text| text.decode());
            Ok(())
        });
        let _ = Reader::new(&body).skip();
    }

    #[test]
    fn no_shuffled_json_makes_the_reader_panic(body in "[\\[\\]{}\",:\\\\u0-9aD ]{0,60}") {
        let _ = names_and_values(&body);
    }
}
