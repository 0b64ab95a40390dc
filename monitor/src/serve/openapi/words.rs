//! Comments of the code as sentences for those who read JSON.

/// A comment without what only Rust has: lines are joined, links lose their brackets, and `None` is `null`.
pub fn words(comment: &str) -> String {
    let paragraphs = comment.split("\n\n").map(|lines| {
        let lines: Vec<&str> = lines.lines().map(str::trim).collect();
        lines.join(" ")
    });
    let text = paragraphs.collect::<Vec<_>>().join("\n\n");
    text.replace("[`", "`").replace("`]", "`").replace("`None`", "`null`")
}

#[cfg(test)]
mod tests {
    use super::words;

    #[test]
    fn comments_become_sentences() {
        assert_eq!(
            words("What it\nis; `None` when\nnot [`Known`]."),
            "What it is; `null` when not `Known`."
        );
        assert_eq!(words("One.\n\nTwo\nof it."), "One.\n\nTwo of it.");
    }
}
