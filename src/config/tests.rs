use super::*;

#[test]
fn it_starts_with_no_file_at_all() {
    let settings = read(None, "", &Surroundings::default()).unwrap();
    assert_eq!(settings.proxy.listen.to_string(), "127.0.0.1:4000");
    assert_eq!(&*settings.proxy.default_provider, "openai");
}
