//! JSON Pointers (RFC 6901).

use super::json_write::contains_any_byte;

/// The pointer to these names below another pointer.
#[must_use]
pub fn json_pointer(pointer: &str, names: &[&str]) -> String {
    let mut pointer = pointer.to_owned();
    for name in names {
        write_pointer(&mut pointer, name);
    }
    pointer
}

/// The pointer to a path below `fields`.
#[must_use]
pub fn fields_pointer(path: &[String]) -> String {
    let mut pointer = "/fields".to_owned();
    for name in path {
        write_pointer(&mut pointer, name);
    }
    pointer
}

/// Whether a pointer is `ancestor` or points to something below it.
#[must_use]
pub fn pointer_is_within(pointer: &str, ancestor: &str) -> bool {
    pointer.strip_prefix(ancestor).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Whether one of two pointers is within the other.
#[must_use]
pub fn pointers_overlap(one: &str, other: &str) -> bool {
    pointer_is_within(one, other) || pointer_is_within(other, one)
}

/// Appends one name, escaped (RFC 6901 §3).
fn write_pointer(pointer: &mut String, name: &str) {
    pointer.push('/');
    if contains_any_byte(name, |byte| byte == b'~' || byte == b'/') {
        pointer.push_str(&name.replace('~', "~0").replace('/', "~1"));
    } else {
        pointer.push_str(name);
    }
}

/// The name of the member of `fields` in which a place is.
#[must_use]
pub fn fields_member(pointer: &str) -> Option<String> {
    let name = pointer.strip_prefix("/fields/")?.split('/').next()?;
    Some(name.replace("~1", "/").replace("~0", "~"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn special_characters_of_a_name_are_escaped() {
        for (name, escaped) in
            [("a/b~c", "a~1b~0c"), ("nine-ty~/", "nine-ty~0~1"), ("twenty-one-letters~1é", "twenty-one-letters~01é")]
        {
            assert_eq!(json_pointer("", &[name, "d"]), format!("/{escaped}/d"));
        }
    }

    #[test]
    fn pointers_overlap_when_equal_or_when_one_is_below_the_other() {
        for (one, other, expected) in [
            ("/fields/a", "/fields/a", true),
            ("/fields/p", "/fields/p/x/value", true),
            ("/fields/p/x/value", "/fields/p", true),
            ("/fields/a", "/fields/ab", false),
            ("/fields/a", "/fields/b", false),
        ] {
            assert_eq!(pointers_overlap(one, other), expected, "{one} {other}");
        }
        assert!(pointer_is_within("/fields/p/x", "/fields/p") && !pointer_is_within("/fields/p", "/fields/p/x"));
    }
}
