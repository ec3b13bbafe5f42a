//! Codes of a second factor as every authenticator app makes them: RFC 6238 over HMAC-SHA-1, six digits, thirty seconds.

use crate::clock::Timestamp;
use crate::secret::Secret;
use ring::hmac;

/// RFC 4226 asks for 160 bits, the length of the hash.
const SECRET_BYTES: usize = 20;
const STEP_MICROS: i64 = 30 * 1_000_000;
/// Clocks may be apart by one step, and typing takes its time (RFC 6238, 5.2).
const STEPS_APART: i64 = 1;
const DIGITS: usize = 6;
const BASE_32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// What the app and Farebox share.
#[derive(Clone, Debug)]
pub struct TotpSecret(Secret<[u8; SECRET_BYTES]>);

impl TotpSecret {
    /// From 256 bits that nobody else knows.
    pub fn new(bits: &[u8; 32]) -> TotpSecret {
        let mut bytes = [0u8; SECRET_BYTES];
        bytes.copy_from_slice(&bits[..SECRET_BYTES]);
        TotpSecret(Secret::new(bytes))
    }

    /// The step that this code belongs to: near `now`, and later than the one whose code was used last.
    pub fn step_of(&self, code: &str, now: Timestamp, used: i64) -> Option<i64> {
        let current = now.as_micros().div_euclid(STEP_MICROS);
        let near = current - STEPS_APART..=current + STEPS_APART;
        // How much of a guess was right must not show in the time it takes: hashes are compared.
        let is_code = |step: i64| blake3::hash(self.code(step).as_bytes()) == blake3::hash(code.as_bytes());
        near.filter(|step| *step > used).find(|step| is_code(*step))
    }

    /// What an app shows in this step.
    pub fn code(&self, step: i64) -> String {
        let modulus = 10u32.pow(DIGITS as u32);
        format!("{:0DIGITS$}", self.truncated(step) % modulus)
    }

    /// RFC 4226, 5.3: 31 bits of the hash, from where its last four bits say.
    fn truncated(&self, step: i64) -> u32 {
        let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, self.0.expose());
        let tag = hmac::sign(&key, &step.to_be_bytes());
        let hash = tag.as_ref();
        let offset = usize::from(hash[hash.len() - 1] & 0xf);
        let four = [hash[offset] & 0x7f, hash[offset + 1], hash[offset + 2], hash[offset + 3]];
        u32::from_be_bytes(four)
    }

    /// As people type it into an app (RFC 4648; 160 bits need no padding).
    pub fn base_32(&self) -> Secret<String> {
        let five_bits = |at: usize| {
            let byte = |place: usize| u16::from(self.0.expose().get(place).copied().unwrap_or(0));
            usize::from((byte(at / 8) << 8 | byte(at / 8 + 1)) >> (11 - at % 8)) & 31
        };
        Secret::new((0..SECRET_BYTES * 8).step_by(5).map(|at| char::from(BASE_32[five_bits(at)])).collect())
    }

    /// As apps read it from a QR code. Names of users hold nothing that a URI would have to escape but `@` and `+`.
    pub fn uri(&self, user: &str) -> Secret<String> {
        let label = user.replace('@', "%40").replace('+', "%2B");
        Secret::new(format!("otpauth://totp/Farebox:{label}?secret={}&issuer=Farebox", self.base_32().expose()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Appendix B of RFC 6238: this secret, and eight digits at these seconds.
    const SECRET: &[u8; 20] = b"12345678901234567890";
    const VECTORS: [(i64, u32); 6] = [
        (59, 94_287_082),
        (1_111_111_109, 7_081_804),
        (1_111_111_111, 14_050_471),
        (1_234_567_890, 89_005_924),
        (2_000_000_000, 69_279_037),
        (20_000_000_000, 65_353_130),
    ];

    fn of_the_rfc() -> TotpSecret {
        TotpSecret(Secret::new(*SECRET))
    }

    #[test]
    fn codes_are_those_of_the_rfc() {
        for (seconds, eight_digits) in VECTORS {
            assert_eq!(of_the_rfc().truncated(seconds / 30) % 100_000_000, eight_digits, "{seconds} s");
            assert_eq!(of_the_rfc().code(seconds / 30), format!("{:06}", eight_digits % 1_000_000));
        }
    }

    #[test]
    fn a_code_is_good_one_step_around_its_time_and_never_twice() {
        let secret = of_the_rfc();
        let at = |seconds: i64| Timestamp(seconds * 1_000_000);
        let code = secret.code(100);
        for (seconds, found) in
            [(2_969, None), (2_970, Some(100)), (3_000, Some(100)), (3_059, Some(100)), (3_060, None)]
        {
            assert_eq!(secret.step_of(&code, at(seconds), 0), found, "{seconds} s");
        }
        assert_eq!(secret.step_of(&code, at(3_000), 100), None, "it was used");
        assert_eq!(secret.step_of(&secret.code(101), at(3_000), 100), Some(101));
        for wrong in ["", "12345", "1234567", "abcdef"] {
            assert_eq!(secret.step_of(wrong, at(3_000), 0), None);
        }
    }

    #[test]
    fn an_app_reads_the_secret_and_a_log_does_not() {
        let secret = of_the_rfc();
        assert_eq!(secret.base_32().expose(), "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ");
        let uri = secret.uri("ann@acme.example");
        assert!(uri.expose().starts_with("otpauth://totp/Farebox:ann%40acme.example?secret=GEZDGNBV"));
        assert!(!format!("{secret:?} {uri:?}").contains("GEZD"));
    }
}
