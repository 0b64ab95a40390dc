//! Which container a user means. Pure: a text and the containers there are.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use super::model::{Container, ContainerId};

/// How many near names or candidates an error lists.
const LISTED: usize = 8;

/// Longest name that is compared letter by letter, in characters.
const COMPARED_CHARS: usize = 128;

/// Why no container was chosen. Names from others are printed escaped.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FindError {
    /// Nothing has that name, id or path.
    #[error("no container, unit or cgroup is called {query:?}{}", Listed("; near it: ", nearest))]
    NotFound {
        /// What was asked for.
        query: String,
        /// The qualified names nearest to it, nearest first.
        nearest: Vec<String>,
    },
    /// Several living ones have that name, or several ids begin so.
    #[error("{query:?} may mean several; say the id or the path{}", Listed(": ", candidates))]
    Ambiguous {
        /// What was asked for.
        query: String,
        /// `name (id)` of each.
        candidates: Vec<String>,
    },
}

struct Listed<'a>(&'static str, &'a [String]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, item) in self.1.iter().take(LISTED).enumerate() {
            write!(f, "{}{}", if at == 0 { self.0 } else { ", " }, item.escape_debug())?;
        }
        let more = self.1.len().saturating_sub(LISTED);
        if more > 0 { write!(f, " and {more} more") } else { Ok(()) }
    }
}

/// Chooses one: by id, path or name, then by a unit's name without its suffix, then by a prefix of an id.
/// The living come before the dead; of the dead with one name, the last to die is meant.
pub(super) fn find(
    query: &str,
    containers: &[Arc<Container>],
) -> Result<Arc<Container>, FindError> {
    let text = query.trim();
    let path = format!("/{}", text.trim_matches('/'));
    let rules: [&dyn Fn(&Container) -> bool; 5] = [
        &|c| c.id.as_str() == text || c.cgroup == path,
        &|c| c.name == text || c.qualified_name() == text,
        &|c| pod_and_name(c).is_some_and(|name| name == text),
        &|c| c.unit.as_deref().and_then(|u| u.rsplit_once('.')).is_some_and(|(u, _)| u == text),
        &|c| c.runtime.is_container() && c.id.as_str().starts_with(text),
    ];
    if !text.is_empty() {
        for alive in [true, false] {
            for (at, rule) in rules.iter().enumerate() {
                let is_prefix = at + 1 == rules.len();
                let hits = containers.iter().filter(|c| c.is_alive() == alive && rule(c));
                let hits: Vec<&Arc<Container>> = hits.collect();
                let distinct: HashSet<&ContainerId> = hits.iter().map(|c| &c.id).collect();
                if distinct.len() > 1 && (alive || is_prefix) {
                    return Err(ambiguous(query, &hits));
                }
                if let Some(last) = hits.into_iter().max_by_key(|c| c.died_at_ns) {
                    return Ok(Arc::clone(last));
                }
            }
        }
    }
    Err(FindError::NotFound { query: query.to_owned(), nearest: nearest(text, containers) })
}

fn pod_and_name(container: &Container) -> Option<String> {
    let pod = container.pod.as_ref()?.name.as_ref()?;
    Some(format!("{pod}/{}", container.name))
}

fn ambiguous(query: &str, hits: &[&Arc<Container>]) -> FindError {
    let candidates = hits.iter().map(|c| format!("{} ({})", c.qualified_name(), c.id)).collect();
    FindError::Ambiguous { query: query.to_owned(), candidates }
}

fn nearest(text: &str, containers: &[Arc<Container>]) -> Vec<String> {
    let wanted: Vec<char> = text.to_lowercase().chars().take(COMPARED_CHARS).collect();
    let lower = text.to_lowercase();
    let allowed = (wanted.len() / 3).max(2);
    let mut near: Vec<(usize, String)> = containers
        .iter()
        .filter_map(|container| {
            let name = container.qualified_name();
            let letters: Vec<char> =
                container.name.to_lowercase().chars().take(COMPARED_CHARS).collect();
            let inside = !lower.is_empty() && name.to_lowercase().contains(&lower);
            let distance = if inside { 1 } else { distance(&wanted, &letters) };
            (distance <= allowed).then_some((distance, name))
        })
        .collect();
    near.sort();
    near.dedup();
    near.into_iter().map(|(_, name)| name).take(LISTED).collect()
}

/// Letters to insert, delete or replace to make one of the other.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = i;
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::identify;
    use crate::container::model::Pod;
    use crate::metric::WallTimeNs;

    fn container(path: &str, name: &str, died: Option<u64>) -> Arc<Container> {
        let mut container = Container::from_identity(&identify(path));
        container.name = name.to_owned();
        container.died_at_ns = died.map(WallTimeNs);
        Arc::new(container)
    }

    fn id(digit: char) -> String {
        format!("ab{}", digit.to_string().repeat(62))
    }

    fn some() -> Vec<Arc<Container>> {
        let docker = |digit, name, died| container(&format!("/docker/{}", id(digit)), name, died);
        let mut pod = (*docker('4', "app", None)).clone();
        pod.pod = Some(Pod {
            name: Some("shop-0".to_owned()),
            namespace: Some("prod".to_owned()),
            uid: None,
        });
        vec![
            docker('1', "web", None),
            docker('2', "web", Some(5)),
            docker('3', "web", Some(9)),
            Arc::new(pod),
            docker('5', "twin", None),
            docker('6', "twin", None),
            docker('7', "gone", Some(1)),
            docker('8', "gone", Some(3)),
            container("/system.slice/nginx.service", "nginx.service", None),
        ]
    }

    fn found(query: &str) -> String {
        find(query, &some()).expect(query).id.as_str().to_owned()
    }

    #[test]
    fn each_way_to_say_it() {
        assert_eq!(found("web"), id('1'));
        assert_eq!(found(&id('2')), id('2'));
        assert_eq!(found("ab11"), id('1'));
        assert_eq!(found(&format!("docker/{}", id('1'))), id('1'));
        assert_eq!(found("app"), id('4'));
        assert_eq!(found("shop-0/app"), id('4'));
        assert_eq!(found("prod/shop-0/app"), id('4'));
        assert_eq!(found("nginx"), "/system.slice/nginx.service");
        assert_eq!(found("gone"), id('8'));
    }

    #[test]
    fn several_are_listed() {
        let error = find("twin", &some()).expect_err("two");
        let FindError::Ambiguous { candidates, .. } = &error else { panic!("{error}") };
        assert_eq!(candidates.len(), 2);
        assert!(error.to_string().contains(&id('5')), "{error}");
        assert!(matches!(find("ab", &some()), Err(FindError::Ambiguous { .. })));
    }

    #[test]
    fn near_names_are_offered_and_escaped() {
        let error = find("wbe", &some()).expect_err("none");
        let FindError::NotFound { nearest, .. } = &error else { panic!("{error}") };
        assert_eq!(nearest.as_slice(), ["web"]);
        let odd = [container("/lxc/x", "we\u{1b}[31m\u{202e}b", None)];
        let text = find("we", &odd).expect_err("none").to_string();
        assert!(!text.contains(['\u{1b}', '\u{202e}']), "{text}");
        assert!(text.contains("we"), "{text}");
        assert!(matches!(find("  ", &some()), Err(FindError::NotFound { .. })));
        let many: Vec<_> =
            (0..20).map(|n| container(&format!("/lxc/c{n}"), "same", None)).collect();
        assert!(find("same", &many).expect_err("many").to_string().ends_with("and 12 more"));
    }

    #[test]
    fn distances() {
        let chars = |text: &str| text.chars().collect::<Vec<_>>();
        for (a, b, expected) in
            [("", "", 0), ("a", "", 1), ("kitten", "sitting", 3), ("wbe", "web", 2)]
        {
            assert_eq!(distance(&chars(a), &chars(b)), expected, "{a} {b}");
        }
    }
}
