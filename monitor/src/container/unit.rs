//! systemd unit names as they appear in cgroup paths.

/// A unit found along a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unit {
    /// Decoded for reading: `dev-sda\x2d1.service` is `dev-sda-1.service`.
    pub name: String,
    /// The slice it is in, decoded; `None` directly below the root.
    pub slice: Option<String>,
    /// The user manager that runs it: `user@1000.service`.
    pub manager: Option<String>,
    /// How many components of the path lead to it.
    pub depth: usize,
}

/// The innermost service or scope along `components`, or `None`.
pub(super) fn innermost(components: &[&str]) -> Option<Unit> {
    let at = components.iter().rposition(|part| is_unit(part))?;
    let before = &components[..at];
    let slice = before.iter().rfind(|part| part.ends_with(".slice")).map(|part| decode(part));
    let manager = before.iter().rfind(|part| is_user_manager(part)).map(|part| decode(part));
    Some(Unit { name: decode(components[at]), slice, manager, depth: at + 1 })
}

/// The uid whose login or user manager owns the path: `user-1000.slice`, `user@1000.service`.
pub(super) fn owner_uid(path: &str) -> Option<u32> {
    path.split('/').find_map(|part| {
        let uid = part.strip_prefix("user-").and_then(|rest| rest.strip_suffix(".slice"));
        let uid = uid.or_else(|| part.strip_prefix("user@")?.strip_suffix(".service"));
        uid?.parse().ok()
    })
}

/// Decodes systemd's `\xNN` escapes. What is no valid escape stays as it is.
pub(super) fn decode(name: &str) -> String {
    let bytes = name.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let code = bytes[at..]
            .strip_prefix(b"\\x")
            .and_then(|rest| rest.get(..2))
            .filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        out.push(code.unwrap_or(bytes[at]));
        at += if code.is_some() { 4 } else { 1 };
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn is_unit(part: &str) -> bool {
    [".service", ".scope"].iter().any(|end| part.len() > end.len() && part.ends_with(end))
}

fn is_user_manager(part: &str) -> bool {
    part.starts_with("user@") && part.ends_with(".service")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_are_decoded() {
        assert_eq!(
            decode(r"app-org.gnome.Terminal\x2dserver.scope"),
            "app-org.gnome.Terminal-server.scope"
        );
        assert_eq!(decode(r"caf\xc3\xa9.service"), "café.service");
        assert_eq!(decode(r"a\x2"), r"a\x2");
        assert_eq!(decode(r"a\x+1b"), r"a\x+1b");
        assert_eq!(decode(r"\xff"), "\u{fffd}");
    }

    #[test]
    fn the_owner_is_read_from_slice_or_manager() {
        assert_eq!(owner_uid("/user.slice/user-1000.slice/session-3.scope"), Some(1000));
        assert_eq!(owner_uid("/x/user@33.service/app.slice"), Some(33));
        assert_eq!(owner_uid("/user.slice/user-.slice"), None);
        assert_eq!(owner_uid("/system.slice"), None);
    }
}
