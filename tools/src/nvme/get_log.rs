//! Any log page, as it comes (Base, Get Log Page command).

use clap::Args;
use nvme_spec::Nsid;
use nvme_spec::command::{DwordCount, GetLogPage, LogPageId};

use super::device::AdminDevice;
use super::json::Object;
use super::{NvmeError, OutputFormat, Printed};

/// Bytes of a line of a hexadecimal dump.
const LINE_BYTES: usize = 16;

/// Most bytes that are asked for: the largest telemetry logs have some hundreds of megabytes.
const LOG_BYTES_MAX: u32 = 1 << 30;

/// Which log page, and how to print it.
#[derive(Clone, Debug, Args)]
pub struct GetLogOptions {
    /// The device: nvme:0000:01:00.0/1, soft-nvme:PATH, rdma://HOST/NQN
    pub device: String,

    /// The log page's identifier
    #[arg(short = 'i', long, alias = "log_id", value_parser = parse_number::<u8>)]
    pub log_id: u8,

    /// How many bytes to print
    #[arg(short = 'l', long, alias = "log_len", value_parser = parse_length)]
    pub log_len: u32,

    /// The first byte to print, a multiple of 4
    #[arg(short = 'L', long, default_value = "0", value_parser = parse_offset)]
    pub lpo: u64,

    /// The namespace; the controller's own pages are those of 0xffffffff
    #[arg(short, long, alias = "namespace_id", default_value = "0xffffffff", value_parser = parse_number::<u32>)]
    pub namespace_id: u32,

    /// The log specific parameter, 7 bits
    #[arg(short = 's', long, default_value = "0", value_parser = parse_number::<u8>)]
    pub lsp: u8,

    /// The log specific identifier
    #[arg(short = 'S', long, default_value = "0", value_parser = parse_number::<u16>)]
    pub lsi: u16,

    /// The UUID index, 7 bits
    #[arg(short = 'U', long, alias = "uuid_index", default_value = "0", value_parser = parse_number::<u8>)]
    pub uuid_index: u8,

    /// The command set identifier
    #[arg(short = 'y', long, default_value = "0", value_parser = parse_number::<u8>)]
    pub csi: u8,

    /// Print the bytes as they are
    #[arg(short = 'b', long, alias = "raw_binary", conflicts_with = "output_format")]
    pub raw_binary: bool,

    /// How to print the bytes
    #[arg(short, long, alias = "output_format", value_enum, default_value = "normal")]
    pub output_format: OutputFormat,
}

/// A number as C writes it: 2, or 0x2.
fn parse_number<N: TryFrom<u64>>(text: &str) -> Result<N, String> {
    let number = match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => text.parse(),
    };
    let number = number.map_err(|_| format!("`{text}` is no number"))?;
    N::try_from(number).map_err(|_| format!("{text} is too large"))
}

fn parse_length(text: &str) -> Result<u32, String> {
    let bytes = parse_number(text)?;
    if bytes == 0 || bytes > LOG_BYTES_MAX {
        return Err(format!("between 1 and {LOG_BYTES_MAX} bytes can be asked for"));
    }
    Ok(bytes)
}

fn parse_offset(text: &str) -> Result<u64, String> {
    let offset: u64 = parse_number(text)?;
    if offset.is_multiple_of(4) {
        Ok(offset)
    } else {
        Err("a log page is read from multiples of 4".to_owned())
    }
}

/// Reads the bytes that are asked for.
pub(super) fn read(device: &AdminDevice, options: &GetLogOptions) -> Result<Vec<u8>, NvmeError> {
    let first = DwordCount::from_zero_based(0);
    let command = GetLogPage {
        nsid: Nsid(options.namespace_id),
        offset: options.lpo,
        lsp: options.lsp,
        lsi: options.lsi,
        csi: options.csi,
        uuid_index: options.uuid_index,
        ..GetLogPage::new(LogPageId(options.log_id), first)
    };
    let bytes = options.log_len as usize;
    let mut page = device.log_page(&command, bytes.next_multiple_of(4))?;
    page.truncate(bytes);
    Ok(page)
}

pub(super) fn show(device: &str, options: &GetLogOptions, bytes: &[u8]) -> Printed {
    let GetLogOptions { log_id, namespace_id, lpo, .. } = options;
    let mut text = format!("Device:{device} log-id:{log_id} namespace-id:{namespace_id:#x}\n");
    text.push_str("       0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f\n");
    bytes.chunks(LINE_BYTES).enumerate().for_each(|(index, line)| text.push_str(&dump(index, line)));
    let mut json = Object::default();
    json.value("device", device);
    json.value("log_id", *log_id);
    json.value("nsid", *namespace_id);
    json.value("offset", *lpo);
    json.value("data", bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    Printed { text, json }
}

/// A line of a dump: where it is, the bytes, and those that can be printed as characters.
fn dump(index: usize, line: &[u8]) -> String {
    let bytes: String = line.iter().map(|byte| format!(" {byte:02x}")).collect();
    let shown = |byte: &u8| if byte.is_ascii_graphic() { char::from(*byte) } else { '.' };
    let characters: String = line.iter().map(shown).collect();
    // nvme-cli fills a short line with one blank too many.
    let width = 3 * LINE_BYTES + usize::from(line.len() < LINE_BYTES);
    format!("{:04x}:{bytes:width$} \"{characters}\"\n", index * LINE_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;
    use block::uri::DeviceUri;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        options: GetLogOptions,
    }

    fn options(arguments: &str) -> Result<GetLogOptions, String> {
        let words = ["get-log", "null"].into_iter().chain(arguments.split_whitespace());
        Line::try_parse_from(words).map(|line| line.options).map_err(|error| error.to_string())
    }

    fn pattern(bytes: u8) -> Vec<u8> {
        (0..bytes).map(|at| at.wrapping_mul(7).wrapping_add(13)).collect()
    }

    /// What nvme-cli 2.3 printed of these bytes.
    const DUMP: &str = "Device:null log-id:2 namespace-id:0xffffffff
       0  1  2  3  4  5  6  7  8  9  a  b  c  d  e  f
0000: 0d 14 1b 22 29 30 37 3e 45 4c 53 5a 61 68 6f 76 \"...\")07>ELSZahov\"
0010: 7d 84 8b 92 99 a0 a7 ae b5 bc c3 ca d1 d8 df e6 \"}...............\"
0020: ed f4 fb 02 09 10 17 1e                          \"........\"
";

    #[test]
    fn bytes_are_dumped_as_nvme_cli_does() {
        let asked = options("--log-id 2 --log-len 40").unwrap();
        assert_eq!(show("null", &asked, &pattern(40)).text, DUMP);
        let whole_lines = show("null", &asked, &pattern(32)).text;
        assert_eq!(whole_lines, DUMP[..DUMP.len() - 66]);
        let json = show("null", &asked, &pattern(3)).json.pretty().unwrap();
        assert!(json.contains("\"nsid\": 4294967295") && json.contains("\"data\": \"0d141b\""), "{json}");
    }

    #[test]
    fn numbers_are_written_as_c_does_and_within_bounds() {
        let asked = options("-i 0xc0 -l 0x1000 -L 8 -n 1 -s 3 -S 5 -y 1 -U 2").unwrap();
        assert_eq!((asked.log_id, asked.log_len, asked.lpo, asked.namespace_id), (0xc0, 4096, 8, 1));
        assert_eq!((asked.lsp, asked.lsi, asked.csi, asked.uuid_index), (3, 5, 1, 2));
        for bad in
            ["-i 256 -l 4", "-i 2", "-l 4", "-i 2 -l 0", "-i 2 -l 0x40000001", "-i x -l 4", "-i 2 -l 4 -L 2"]
        {
            assert!(options(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_page_is_read_in_parts_from_anywhere() {
        let uri: DeviceUri = "soft-nvme:?size=1MiB".parse().unwrap();
        let device = AdminDevice::open(&uri).unwrap();
        let all = read(&device, &options("-i 2 -l 512").unwrap()).unwrap();
        let part = read(&device, &options("-i 2 -l 6 --lpo 4").unwrap()).unwrap();
        assert_eq!((all.len(), part.as_slice()), (512, &all[4..10]));
        assert!(all.iter().any(|byte| *byte != 0), "there is a temperature in it");
        // Error entries: more than one command's worth, and no more than there are.
        assert_eq!(read(&device, &options("-i 1 -l 4096").unwrap()).unwrap().len(), 4096);
        let refused = read(&device, &options("-i 0xc7 -l 16").unwrap()).unwrap_err().to_string();
        assert!(refused.contains("soft-nvme:"), "{refused}");
    }

    #[test]
    fn formats_exclude_one_another() {
        assert!(options("-i 2 -l 4 -b -o json").is_err());
        assert!(options("-i 2 -l 4 -b").unwrap().raw_binary);
        assert_eq!(options("-i 2 -l 4 -o json").unwrap().output_format, OutputFormat::Json);
    }
}
