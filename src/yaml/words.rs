//! Guesses at what was meant.

/// The known word that was probably meant, if one is near enough.
pub fn nearest<'a>(word: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let allowed = (word.chars().count() / 3).max(2);
    let near = known.into_iter().map(|candidate| (distance(word, candidate), candidate));
    near.filter(|(steps, _)| *steps <= allowed).min().map(|(_, candidate)| candidate)
}

/// Steps from one word to another: insert, remove or replace a letter, or swap two neighbours.
fn distance(from: &str, to: &str) -> usize {
    let (from, to): (Vec<char>, Vec<char>) = (from.chars().collect(), to.chars().collect());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, letter) in from.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, other) in to.iter().enumerate() {
            let mut steps = (row[j] + usize::from(letter != other)).min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && *letter == to[j - 1] && from[i - 1] == *other {
                steps = steps.min(before[j - 1] + 1);
            }
            next.push(steps);
        }
        before = std::mem::replace(&mut row, next);
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_the_one_that_was_meant() {
        assert_eq!(nearest("base_ulr", ["base_url", "name"]), Some("base_url"));
        assert_eq!(nearest("lisetn", ["listen", "threads"]), Some("listen"));
        assert_eq!(nearest("banana", ["listen", "threads"]), None);
    }
}
