//! A consumer of the feed of changes, which resumes at its cursor when a gateway is killed.

use std::time::Duration;

use serde_json::Value;

use super::client::Client;

/// The events received so far, and where to continue.
#[derive(Default)]
pub(crate) struct Follower {
    client: Client,
    cursor: Option<String>,
    pub(crate) events: Vec<Value>,
}

impl Follower {
    /// Reads once from this replica. `false` = there was nothing more, or no response.
    pub(crate) fn read(&mut self, address: &str) -> bool {
        let since = self.cursor.as_deref().unwrap_or("first");
        let path = format!("/changes?limit=20&since={since}");
        // The gateway closes a connection that was idle for long.
        let Ok(response) = self.client.get(address, &path).or_else(|_| self.client.get(address, &path)) else {
            return false;
        };
        if response.status != 200 {
            return false;
        }
        let page = response.json();
        self.events.extend(page["items"].as_array().expect("items").iter().cloned());
        self.cursor = Some(page["next"].as_str().expect("a cursor").to_owned());
        page["at_end"] != true
    }

    /// Reads from the replica that `address` names while `should_continue`.
    pub(crate) fn follow(&mut self, mut address: impl FnMut() -> String, should_continue: impl Fn() -> bool) {
        while should_continue() {
            if !self.read(&address()) {
                std::thread::sleep(Duration::from_millis(5));
            }
        }
    }
}
