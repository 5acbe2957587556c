//! What each vendor needs to be told besides what every system takes.

use super::section::Section;
use crate::record::Secret;

/// The keys of one vendor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VendorConfig {
    /// `vendor = "pretectum"`.
    Pretectum {
        /// Where tokens are got, after `base_url`. Default `/v1/oauth2/token`.
        token_path: String,
        /// The account.
        client_id: String,
        /// Its secret.
        client_secret: Secret,
    },
    /// `vendor = "bluedolphin"`.
    BlueDolphin {
        /// Header `tenant`.
        tenant: String,
        /// Header `x-api-key`.
        api_key: Secret,
    },
    /// `vendor = "matrix42"`.
    Matrix42 {
        /// The API token that is exchanged for access tokens.
        api_token: Secret,
    },
}

/// Which vendor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Vendor {
    Pretectum,
    BlueDolphin,
    Matrix42,
}

/// Every vendor by its word.
pub(super) const VENDORS: [(&str, Vendor); 3] =
    [("pretectum", Vendor::Pretectum), ("bluedolphin", Vendor::BlueDolphin), ("matrix42", Vendor::Matrix42)];

const TEXT: &str = "a string";
const TOKEN_PATH: &str = "a path such as \"/v1/oauth2/token\"";

impl Vendor {
    /// The keys that only this vendor has.
    pub(super) fn keys(self) -> &'static [&'static str] {
        match self {
            Self::Pretectum => &["token_path", "client_id", "client_secret"],
            Self::BlueDolphin => &["tenant", "api_key"],
            Self::Matrix42 => &["api_token"],
        }
    }

    /// What the adapter puts after `base_url` and vendors' pages show as part of it.
    pub(super) fn added_paths(self) -> &'static [&'static str] {
        match self {
            Self::Pretectum | Self::BlueDolphin => &["/v1"],
            Self::Matrix42 => &["/m42Services/api", "/m42Services"],
        }
    }

    /// The form of a collection, for people.
    pub(super) fn collection_form(self) -> &'static str {
        match self {
            Self::Pretectum => "\"{businessAreaId}:{schemaId}:{datasetId}\", each 20 to 64 letters and digits",
            Self::BlueDolphin => "\"object-definitions\"",
            Self::Matrix42 => "a Data Definition's technical name, such as \"SPSScCategoryClassBase\"",
        }
    }

    /// Whether a collection has the vendor's form.
    pub(super) fn has_collection_form(self, collection: &str) -> bool {
        match self {
            Self::Pretectum => collection.split(':').count() == 3 && collection.split(':').all(is_pretectum_id),
            Self::BlueDolphin => collection == "object-definitions",
            Self::Matrix42 => {
                !collection.starts_with(|first: char| first.is_ascii_digit())
                    && collection.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
            }
        }
    }

    /// Reads the vendor's own keys; `None` if one of them is missing or wrong.
    pub(super) fn read(self, section: &mut Section<'_, '_>) -> Option<VendorConfig> {
        match self {
            Self::Pretectum => {
                let token_path = token_path(section);
                let client_id = section.required("client_id", TEXT);
                let client_secret = section.required("client_secret", TEXT)?.secret();
                Some(VendorConfig::Pretectum { token_path, client_id: client_id?.value, client_secret })
            }
            Self::BlueDolphin => {
                let tenant = section.required("tenant", TEXT).and_then(|text| text.for_header(section.reader));
                let api_key = section.required("api_key", TEXT)?.for_header(section.reader)?.secret();
                Some(VendorConfig::BlueDolphin { tenant: tenant?.value, api_key })
            }
            Self::Matrix42 => {
                let api_token = section.required("api_token", TEXT)?.for_header(section.reader)?.secret();
                Some(VendorConfig::Matrix42 { api_token })
            }
        }
    }
}

fn is_pretectum_id(id: &str) -> bool {
    (20..=64).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_alphanumeric())
}

fn token_path(section: &mut Section<'_, '_>) -> String {
    let default = || "/v1/oauth2/token".to_owned();
    let Some(text) = section.text("token_path", TOKEN_PATH) else { return default() };
    let is_path = text.value.starts_with('/')
        && !text.value.contains("//")
        && text.value.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\\\"<>^`{|}".contains(&byte));
    if is_path {
        return text.value;
    }
    section.reader.fault(&text.place, format!("{} is not a path", text.shown()), TOKEN_PATH);
    default()
}
