//! CSV lines (RFC 4180), safe to open in a spreadsheet.
//!
//! A text that begins with `=`, `+`, `-`, `@`, a tab or a carriage return gets an apostrophe in front, else a
//! spreadsheet would run it as a formula (OWASP: "CSV Injection"). Numbers and money are never touched.

use crate::clock::Timestamp;
use std::io::Write;

const PICO_PER_USD: u128 = 1_000_000_000_000;

/// Builds lines in a buffer of the caller's.
#[derive(Debug)]
pub struct Line<'b> {
    buffer: &'b mut Vec<u8>,
    is_first: bool,
}

impl<'b> Line<'b> {
    pub fn new(buffer: &'b mut Vec<u8>) -> Self {
        Line { buffer, is_first: true }
    }

    pub fn end(self) {
        self.buffer.extend_from_slice(b"\r\n");
    }

    /// Text that others chose; an absent one is an empty cell.
    pub fn text(&mut self, text: Option<&str>) {
        self.comma();
        let Some(text) = text else { return };
        let bytes = text.as_bytes();
        let quoted = memchr::memchr3(b'"', b',', b'\n', bytes).is_some() || memchr::memchr(b'\r', bytes).is_some();
        if quoted {
            self.buffer.push(b'"');
        }
        if matches!(bytes.first(), Some(b'=' | b'+' | b'-' | b'@' | b'\t' | b'\r')) {
            self.buffer.push(b'\'');
        }
        if !quoted {
            self.buffer.extend_from_slice(bytes);
            return;
        }
        let mut from = 0;
        for quote in memchr::memchr_iter(b'"', bytes) {
            self.buffer.extend_from_slice(&bytes[from..=quote]);
            from = quote;
        }
        self.buffer.extend_from_slice(&bytes[from..]);
        self.buffer.push(b'"');
    }

    /// Something whose writing needs no quotes: an id, a number.
    pub fn plain(&mut self, value: impl std::fmt::Display) {
        self.comma();
        // Writing into memory cannot fail.
        let _ = write!(self.buffer, "{value}");
    }

    pub fn number(&mut self, value: u64) {
        self.comma();
        self.digits(u128::from(value));
    }

    pub fn number_or_empty(&mut self, value: Option<u64>) {
        match value {
            Some(value) => self.number(value),
            None => self.comma(),
        }
    }

    pub fn signed(&mut self, value: i64) {
        self.comma();
        if value < 0 {
            self.buffer.push(b'-');
        }
        self.digits(u128::from(value.unsigned_abs()));
    }

    pub fn flag(&mut self, value: bool) {
        self.comma();
        self.buffer.extend_from_slice(if value { b"true" } else { b"false" });
    }

    /// Pico-dollars as decimal dollars, the same text as [`crate::money::pico_to_decimal`]; unknown is an empty cell.
    pub fn money(&mut self, pico: Option<i128>) {
        self.comma();
        let Some(pico) = pico else { return };
        if pico == 0 {
            self.buffer.extend_from_slice(b"0.00");
            return;
        }
        if pico < 0 {
            self.buffer.push(b'-');
        }
        let magnitude = pico.unsigned_abs();
        self.digits(magnitude / PICO_PER_USD);
        self.buffer.push(b'.');
        let mut rest = (magnitude % PICO_PER_USD) as u64;
        let mut fraction = [b'0'; 12];
        for digit in fraction.iter_mut().rev() {
            *digit = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        let kept = fraction.iter().rposition(|digit| *digit != b'0').map_or(2, |last| (last + 1).max(2));
        self.buffer.extend_from_slice(&fraction[..kept]);
    }

    fn comma(&mut self) {
        if !self.is_first {
            self.buffer.push(b',');
        }
        self.is_first = false;
    }

    fn digits(&mut self, value: u128) {
        let Ok(mut value) = u64::try_from(value) else {
            let _ = write!(self.buffer, "{value}");
            return;
        };
        let mut digits = [0u8; 20];
        let mut start = digits.len();
        loop {
            start -= 1;
            digits[start] = b'0' + (value % 10) as u8;
            value /= 10;
            if value == 0 {
                break;
            }
        }
        self.buffer.extend_from_slice(&digits[start..]);
    }
}

/// Writes moments, remembering the date of the last one: rows come in order of time.
#[derive(Debug, Default)]
pub struct Moments {
    day: Option<i64>,
    date: String,
}

const DAY_MICROS: i64 = 86_400_000_000;

impl Moments {
    /// `2026-11-21T23:07:33.123456Z`, the same text as [`Timestamp::to_rfc3339`].
    pub fn write(&mut self, line: &mut Line<'_>, moment: Timestamp) {
        let day = moment.as_micros().div_euclid(DAY_MICROS);
        if self.day != Some(day) {
            let text = moment.to_rfc3339();
            let Some((date, _)) = text.split_once('T') else { return line.plain(text) };
            self.date = date.to_owned();
            self.day = Some(day);
        }
        line.comma();
        let micros = moment.as_micros().rem_euclid(DAY_MICROS);
        let seconds = micros / 1_000_000;
        let mut clock = *b"T00:00:00.000000Z";
        two_digits(&mut clock[1..3], seconds / 3_600);
        two_digits(&mut clock[4..6], seconds / 60 % 60);
        two_digits(&mut clock[7..9], seconds % 60);
        let mut fraction = micros % 1_000_000;
        for digit in clock[10..16].iter_mut().rev() {
            *digit = b'0' + (fraction % 10) as u8;
            fraction /= 10;
        }
        line.buffer.extend_from_slice(self.date.as_bytes());
        line.buffer.extend_from_slice(&clock);
    }
}

/// Of a number below 100.
fn two_digits(place: &mut [u8], number: i64) {
    place[0] = b'0' + (number / 10) as u8;
    place[1] = b'0' + (number % 10) as u8;
}
