//! `remora attachments` and `remora detach`.

use std::io::{self, Write};

use block::uri::format_size;

use super::control::{Description, ask_detach, ask_status};
use super::error::AttachError;
use super::registry::Registry;
use super::{AttachmentsOptions, DetachOptions};

pub(super) fn attachments(options: &AttachmentsOptions) -> Result<(), AttachError> {
    let mut found = Vec::new();
    for (name, stream) in Registry::open()?.all()? {
        match ask_status(&stream) {
            Ok(description) => found.push(description),
            Err(source) => tracing::warn!("{}", AttachError::Silent { name, source }),
        }
    }
    let text = if options.json {
        serde_json::to_string_pretty(&found).map_err(|error| AttachError::Output(error.into()))? + "\n"
    } else {
        table(&found)
    };
    io::stdout().write_all(text.as_bytes()).map_err(AttachError::Output)
}

fn table(found: &[Description]) -> String {
    let mut rows = vec![["NAME", "PID", "SIZE", "CLIENTS", "DEVICE", "WHERE"].map(str::to_owned)];
    rows.extend(found.iter().map(|description| {
        let access = if description.read_only { " (read-only)" } else { "" };
        [
            description.name.clone(),
            description.pid.to_string(),
            format_size(description.bytes),
            description.counters.clients.to_string(),
            format!("{}{access}", description.device),
            description.uris.join(" "),
        ]
    }));
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths: [usize; 6] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let padded = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(padded.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

pub(super) fn detach(options: &DetachOptions) -> Result<(), AttachError> {
    let name = &options.name;
    let stream = Registry::open()?.find(name)?;
    let ended =
        ask_detach(&stream).map_err(|source| AttachError::Silent { name: name.to_string(), source })?;
    match ended.error {
        None => Ok(()),
        Some(reason) => Err(AttachError::EndedBadly { name: name.clone(), reason }),
    }
}
