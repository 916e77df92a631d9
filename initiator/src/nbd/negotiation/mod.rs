//! What a client and this side agree on before the first command ("Handshake phase").

#[cfg(test)]
mod tests;

use thiserror::Error;

use super::export::Export;
use super::wire::{
    BASE_ALLOCATION, BASE_NAMESPACE, CLIENT_FLAGS_BYTES, ClientFlags, GREETING_BYTES, HandshakeFlags,
    InfoKind, InfoRequest, MetaQuery, OPTION_HEADER_BYTES, OptionCode, OptionError, OptionHeader,
    OptionReply, OptionWriter, greeting, write_export_name_reply,
};

/// Most bytes of an option's data that are looked at: two names of the longest kind, and room for other contexts.
pub const OPTION_BYTES_MAX: u32 = 16 * 1024;

/// Most bytes of an option that are read and thrown away, so that the client hears that it is too long.
pub const OPTION_SKIPPED_MAX: u32 = 1 << 20;

/// Answers that a client has not taken: no more of its options are answered meanwhile.
pub const ANSWERS_BYTES_MAX: usize = 64 * 1024;

/// The number that the context `base:allocation` goes by.
pub const ALLOCATION_ID: u32 = 1;

const EXPORT_UNKNOWN: &str = "no such export";
const DATA_WRONG: &str = "the option's data cannot be read";
const DATA_UNWANTED: &str = "the option has no data";
const SHUTTING_DOWN: &str = "the server is shutting down";

/// What was agreed on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Agreement {
    /// Replies are structured.
    pub structured: bool,
    /// `BLOCK_STATUS` tells of `base:allocation`.
    pub allocation: bool,
}

/// Why a connection ends before it has begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NegotiationError {
    /// The client has flags that nobody knows.
    #[error("the client has unknown flags ({0:#x})")]
    Flags(u32),
    /// An option cannot be read.
    #[error(transparent)]
    Option(#[from] OptionError),
    /// An option that is too long even to be thrown away.
    #[error("an option of {bytes} bytes")]
    TooLong {
        /// Bytes of its data.
        bytes: u32,
    },
    /// An export that there is not, asked for in the way that has no refusal; or the server is going.
    #[error("the client asked for an export that there is not")]
    NoExport,
    /// An option from a client that can only name an export.
    #[error("an option from a client that does not speak fixed newstyle")]
    NotFixed,
}

/// How far it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The client has to say more, or to take answers.
    Unfinished,
    /// The next byte is a command's.
    Agreed(Agreement),
    /// The client has taken its leave: the connection ends when it has the answers.
    Ended,
}

/// ```text
///          │ greeting
///          ▼
///        Flags ───────── unknown flags ────────────► (error)
///          │
///          ▼     ABORT
///   ┌─► Options ─────────────────────────────────────► Ended
///   │    │ │ │   not an option, far too long, no export ► (error)
///   │    │ │ └─ GO, EXPORT_NAME ─────────────────────► Agreed
///   │    │ └─ too long ─► Skipping ─┐
///   └────┴──────────────────────────┘
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Flags,
    Options,
    Skipping { left: u32, code: OptionCode },
    Agreed,
    Ended,
}

/// One client's negotiation. Bytes go in, answers come out.
#[derive(Debug)]
pub struct Negotiation {
    phase: Phase,
    client: ClientFlags,
    agreed: Agreement,
    is_shutting_down: bool,
}

impl Negotiation {
    /// Before the client has said anything; and what to say to it.
    #[must_use]
    pub fn new() -> (Self, [u8; GREETING_BYTES]) {
        let negotiation = Self {
            phase: Phase::Flags,
            client: ClientFlags::empty(),
            agreed: Agreement::default(),
            is_shutting_down: false,
        };
        (negotiation, greeting(HandshakeFlags::FIXED_NEWSTYLE | HandshakeFlags::NO_ZEROES))
    }

    /// From now on nobody is let in.
    pub fn shut_down(&mut self) {
        self.is_shutting_down = true;
    }

    /// Takes what has come, as far as it is complete, and adds answers. Returns how many bytes were used.
    pub fn receive(
        &mut self,
        bytes: &[u8],
        export: &Export,
        answers: &mut Vec<u8>,
    ) -> Result<(usize, Progress), NegotiationError> {
        let mut used = 0;
        while answers.len() < ANSWERS_BYTES_MAX {
            let step = self.step(&bytes[used..], export, answers)?;
            used += step;
            if step == 0 {
                break;
            }
        }
        Ok((used, self.progress()))
    }

    fn progress(&self) -> Progress {
        match self.phase {
            Phase::Flags | Phase::Options | Phase::Skipping { .. } => Progress::Unfinished,
            Phase::Agreed => Progress::Agreed(self.agreed),
            Phase::Ended => Progress::Ended,
        }
    }

    /// One message; 0 if it is not there as a whole.
    fn step(
        &mut self,
        bytes: &[u8],
        export: &Export,
        answers: &mut Vec<u8>,
    ) -> Result<usize, NegotiationError> {
        match self.phase {
            Phase::Flags => match bytes.first_chunk::<CLIENT_FLAGS_BYTES>() {
                Some(flags) => self.flags(u32::from_be_bytes(*flags)).map(|()| CLIENT_FLAGS_BYTES),
                None => Ok(0),
            },
            Phase::Options => match bytes.split_first_chunk::<OPTION_HEADER_BYTES>() {
                Some((header, rest)) => self.option(OptionHeader::read(header)?, rest, export, answers),
                None => Ok(0),
            },
            Phase::Skipping { left, code } => Ok(self.skip(bytes.len(), left, code, answers)),
            Phase::Agreed | Phase::Ended => Ok(0),
        }
    }

    fn flags(&mut self, bits: u32) -> Result<(), NegotiationError> {
        self.client = ClientFlags::from_bits(bits).ok_or(NegotiationError::Flags(bits))?;
        self.phase = Phase::Options;
        Ok(())
    }

    fn skip(&mut self, available: usize, left: u32, code: OptionCode, answers: &mut Vec<u8>) -> usize {
        let skipped = available.min(left as usize);
        let left = left - u32::try_from(skipped).unwrap_or(left);
        self.phase = Phase::Skipping { left, code };
        if left == 0 {
            OptionWriter { code, into: answers }.reply(OptionReply::TooBig("the option is too long"));
            self.phase = Phase::Options;
        }
        skipped
    }

    /// One option, whose data is the beginning of `rest`.
    fn option(
        &mut self,
        header: OptionHeader,
        rest: &[u8],
        export: &Export,
        answers: &mut Vec<u8>,
    ) -> Result<usize, NegotiationError> {
        let OptionHeader { code, bytes } = header;
        if code != OptionCode::ExportName && !self.client.contains(ClientFlags::FIXED_NEWSTYLE) {
            return Err(NegotiationError::NotFixed);
        }
        if bytes > OPTION_SKIPPED_MAX {
            return Err(NegotiationError::TooLong { bytes });
        }
        if bytes > OPTION_BYTES_MAX {
            self.phase = Phase::Skipping { left: bytes, code };
            return Ok(OPTION_HEADER_BYTES);
        }
        let Some(data) = rest.get(..bytes as usize) else { return Ok(0) };
        if code == OptionCode::ExportName {
            self.export_name(data, export, answers)?;
        } else {
            self.answer(code, data, export, answers);
        }
        Ok(OPTION_HEADER_BYTES + data.len())
    }

    fn export_name(
        &mut self,
        name: &[u8],
        export: &Export,
        answers: &mut Vec<u8>,
    ) -> Result<(), NegotiationError> {
        if self.is_shutting_down || !export.is_called(name) {
            return Err(NegotiationError::NoExport);
        }
        let zeroes = !self.client.contains(ClientFlags::NO_ZEROES);
        write_export_name_reply(export.bytes, export.flags(self.agreed.structured), zeroes, answers);
        self.phase = Phase::Agreed;
        Ok(())
    }

    fn answer(&mut self, code: OptionCode, data: &[u8], export: &Export, answers: &mut Vec<u8>) {
        let mut writer = OptionWriter { code, into: answers };
        let is_about_export = matches!(
            code,
            OptionCode::Info | OptionCode::Go | OptionCode::ListMetaContext | OptionCode::SetMetaContext
        );
        if self.is_shutting_down && is_about_export {
            return writer.reply(OptionReply::Shutdown(SHUTTING_DOWN));
        }
        match code {
            OptionCode::Abort => {
                writer.reply(OptionReply::Ack);
                self.phase = Phase::Ended;
            }
            OptionCode::List => list(data, export, &mut writer),
            OptionCode::Info | OptionCode::Go => self.info(data, export, &mut writer),
            OptionCode::StructuredReply => self.structured(data, &mut writer),
            OptionCode::ListMetaContext => self.list_contexts(data, export, &mut writer),
            OptionCode::SetMetaContext => self.set_contexts(data, export, &mut writer),
            OptionCode::ExportName | OptionCode::Unknown(_) => {
                writer.reply(OptionReply::Unsupported("there is no such option here"));
            }
        }
    }

    fn info(&mut self, data: &[u8], export: &Export, writer: &mut OptionWriter<'_>) {
        let Ok(request) = InfoRequest::read(data) else {
            return writer.reply(OptionReply::Invalid(DATA_WRONG));
        };
        if !export.is_called(request.name) {
            return writer.reply(OptionReply::UnknownExport(EXPORT_UNKNOWN));
        }
        let flags = export.flags(self.agreed.structured);
        writer.reply(OptionReply::Export { bytes: export.bytes, flags });
        if request.asks_for(InfoKind::Name) {
            writer.reply(OptionReply::Text(InfoKind::Name, export.name.as_str()));
        }
        if request.asks_for(InfoKind::Description) {
            writer.reply(OptionReply::Text(InfoKind::Description, &export.description));
        }
        if request.asks_for(InfoKind::BlockSize) {
            writer.reply(OptionReply::BlockSize(export.block_sizes()));
        }
        writer.reply(OptionReply::Ack);
        if writer.code == OptionCode::Go {
            self.phase = Phase::Agreed;
        }
    }

    fn structured(&mut self, data: &[u8], writer: &mut OptionWriter<'_>) {
        if !data.is_empty() {
            return writer.reply(OptionReply::Invalid(DATA_UNWANTED));
        }
        self.agreed.structured = true;
        writer.reply(OptionReply::Ack);
    }

    /// "base:" asks for all of a namespace, in a list only; no query asks for all there are.
    fn list_contexts(&self, data: &[u8], export: &Export, writer: &mut OptionWriter<'_>) {
        let Some(query) = self.query(data, export, writer) else { return };
        let mut queries = query.queries().peekable();
        let wants =
            |text: &[u8]| [BASE_ALLOCATION, BASE_NAMESPACE].iter().any(|name| text == name.as_bytes());
        if export.has_extents() && (queries.peek().is_none() || queries.any(wants)) {
            writer.reply(OptionReply::MetaContext { id: 0, name: BASE_ALLOCATION });
        }
        writer.reply(OptionReply::Ack);
    }

    /// Whatever was chosen before no longer counts, also if this cannot be read.
    fn set_contexts(&mut self, data: &[u8], export: &Export, writer: &mut OptionWriter<'_>) {
        self.agreed.allocation = false;
        let Some(query) = self.query(data, export, writer) else { return };
        if export.has_extents() && query.queries().any(|text| text == BASE_ALLOCATION.as_bytes()) {
            self.agreed.allocation = true;
            writer.reply(OptionReply::MetaContext { id: ALLOCATION_ID, name: BASE_ALLOCATION });
        }
        writer.reply(OptionReply::Ack);
    }

    fn query<'a>(
        &self,
        data: &'a [u8],
        export: &Export,
        writer: &mut OptionWriter<'_>,
    ) -> Option<MetaQuery<'a>> {
        let refusal = if self.agreed.structured {
            match MetaQuery::read(data) {
                Ok(query) if export.is_called(query.name) => return Some(query),
                Ok(_) => OptionReply::UnknownExport(EXPORT_UNKNOWN),
                Err(_) => OptionReply::Invalid(DATA_WRONG),
            }
        } else {
            OptionReply::Invalid("structured replies come first")
        };
        writer.reply(refusal);
        None
    }
}

fn list(data: &[u8], export: &Export, writer: &mut OptionWriter<'_>) {
    if !data.is_empty() {
        return writer.reply(OptionReply::Invalid(DATA_UNWANTED));
    }
    writer.reply(OptionReply::Server(export.name.as_str()));
    writer.reply(OptionReply::Ack);
}
