//! "Did you mean": the nearest of the names that would have been right.

/// The name among `candidates` that `wrong` was probably meant to be: at most a third of its
/// letters differ.
pub(crate) fn suggest<'a>(
    wrong: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    // Longer words are not slips of the pen, and their distance would be costly.
    if wrong.len() > 40 {
        return None;
    }
    let lower = wrong.to_ascii_lowercase();
    let most = |name: &str| wrong.len().max(name.len()).div_ceil(3);
    candidates
        .filter(|name| wrong.len().abs_diff(name.len()) <= most(name))
        .map(|name| (distance(&lower, &name.to_ascii_lowercase()), name))
        .filter(|&(distance, name)| distance <= most(name))
        .min_by_key(|&(distance, name)| (distance, name.len()))
        .map(|(_, name)| name)
}

/// Edit distance with swaps of neighbours (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows: Vec<Vec<usize>> = vec![(0..=b.len()).collect()];
    for (i, &ca) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &cb) in b.iter().enumerate() {
            let replaced = rows[i][j] + usize::from(ca != cb);
            let mut best = replaced.min(row[j] + 1).min(rows[i][j + 1] + 1);
            if i > 0 && j > 0 && ca == b[j - 1] && a[i - 1] == cb {
                best = best.min(rows[i - 1][j - 1] + 1);
            }
            row.push(best);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::suggest;

    #[test]
    fn slips_are_found_and_strangers_are_not() {
        let names = || ["cpu_time", "rss", "threads", "comm"].into_iter();
        assert_eq!(suggest("cputime", names()), Some("cpu_time"));
        assert_eq!(suggest("RSS", names()), Some("rss"));
        assert_eq!(suggest("thraeds", names()), Some("threads"));
        assert_eq!(suggest("colour", names()), None);
        assert_eq!(suggest(&"x".repeat(9999), names()), None);
    }
}
