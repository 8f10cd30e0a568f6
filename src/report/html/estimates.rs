//! The guesses of the model, as its documentation lists them.

/// The page that a test keeps complete: every `ASSUMPTION` of the code is a row of its table.
const MODEL: &str = include_str!("../../../docs/model.md");

/// One guess.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Estimate {
    /// `A106`; two tags if they go together.
    pub tag: String,
    /// The part of the program in which it acts.
    pub part: String,
    /// What it is and what it moves.
    pub text: String,
}

/// All guesses, in the order of the documentation.
pub fn estimates() -> Vec<Estimate> {
    let row = |line: &str| {
        let mut cells = line.strip_prefix("| ")?.strip_suffix(" |")?.splitn(3, " | ");
        let (tag, part, text) = (cells.next()?, cells.next()?, cells.next()?);
        let is_tag = tag.starts_with('A') && tag[1..].starts_with(|c: char| c.is_ascii_digit());
        is_tag.then(|| Estimate {
            tag: tag.to_owned(),
            part: part.to_owned(),
            text: text.replace('`', ""),
        })
    };
    MODEL.lines().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_read() {
        let all = estimates();
        assert!(all.len() > 50, "{} rows", all.len());
        let provisioning = all.iter().find(|estimate| estimate.tag == "A106");
        assert!(
            provisioning.is_some_and(|e| e.part == "presets" && e.text.contains("provisioning"))
        );
        let rows = MODEL.lines().filter(|line| line.starts_with("| A")).count();
        assert_eq!(all.len(), rows, "no row is lost");
    }
}
