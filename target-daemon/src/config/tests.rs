use super::*;
use proptest::prelude::*;

fn machine() -> Machine {
    Machine::named("m")
}

fn problems(text: &str) -> Vec<String> {
    let found = from_toml(text, &machine()).err().unwrap_or_default();
    found
        .into_iter()
        .map(|problem| match problem.place {
            Place::Line(line) => format!("{line}: {}", problem.message),
            Place::Argument(_) => unreachable!("a file has lines"),
        })
        .collect()
}

/// The one problem of a file.
fn problem(text: &str) -> String {
    let found = problems(text);
    assert_eq!(found.len(), 1, "{found:?}");
    found.into_iter().next().unwrap()
}

const SMALL: &str = "\
version = 1
[[subsystem]]
nqn = 'nqn.2024-05.com.example:a'
";

#[test]
fn what_is_not_said_is_safe() {
    let config = from_toml(SMALL, &machine()).unwrap();
    assert_eq!(config.listeners, ["127.0.0.1:4420".parse().unwrap()], "this machine only");
    assert_eq!(config.limits, Limits::default());
    assert_eq!((config.metrics, &config.state_dir), (None, &None));
    let subsystem = &config.subsystems[&"nqn.2024-05.com.example:a".parse().unwrap()];
    assert_eq!(subsystem.hosts, Hosts::default(), "nobody may attach");
    assert_eq!(subsystem.serial.len(), 16);
    assert_eq!(subsystem.controller_ids, 1..=0xffef);
}

#[test]
fn everything_can_be_said() {
    let text = "\
version = 1
listen = ['0.0.0.0', '[::1]:4421']
provider = 'soft'
reactors = 2
poll = 'always'
metrics = '127.0.0.1:9420'
control = 'none'
state_dir = '/var/lib/remora'
log = 'debug'
drain_timeout_s = 5
[buffers]
data = '64MiB'
receives = 128
reads = 1048576
[limits]
io_queues = 4
in_capsule = '4KiB'
[[subsystem]]
nqn = 'nqn.2024-05.com.example:a'
serial = 'S1'
model = 'M'
cntlid = [1, 100]
hosts = ['nqn.2024-05.com.example:host']
[[subsystem.namespace]]
nsid = 7
device = 'file:/d'
offset = '1GiB'
length = 4096
uuid = '00112233-4455-6677-8899-aabbccddeeff'
nguid = '00112233445566778899aabbccddeeff'
read_only = true
";
    let config = from_toml(text, &machine()).unwrap();
    assert_eq!(config.listeners, ["0.0.0.0:4420", "[::1]:4421"].map(|text| text.parse().unwrap()));
    assert_eq!((config.provider, config.poll), (ProviderChoice::Soft, Poll::Always));
    assert_eq!(config.reactors, [None, None]);
    assert_eq!(config.buffers, BufferOptions { data_bytes: 64 << 20, receives: 128, read_bytes: 1 << 20 });
    assert_eq!((config.limits.io_queues, config.limits.in_capsule_bytes), (4, 4096));
    assert_eq!((config.control, config.log), (ControlPath::None, Level::DEBUG));
    assert_eq!(config.drain_timeout, Duration::from_secs(5));
    let subsystem = &config.subsystems[&"nqn.2024-05.com.example:a".parse().unwrap()];
    assert_eq!((subsystem.serial.as_str(), subsystem.model.as_str()), ("S1", "M"));
    assert_eq!(subsystem.controller_ids, 1..=100);
    assert!(subsystem.hosts.listed.contains(&"nqn.2024-05.com.example:host".parse().unwrap()));
    let namespace = &subsystem.namespaces[&Nsid(7)];
    assert_eq!(namespace.device.to_string(), "file:/d?offset=1GiB&length=4096");
    let id = 0x0011_2233_4455_6677_8899_aabb_ccdd_eeff_u128;
    assert_eq!((namespace.uuid, namespace.nguid), (Some(Uuid::from_u128(id)), Some(id.to_be_bytes())));
    assert!(namespace.read_only);
}

#[test]
fn the_version_comes_first() {
    assert_eq!(problem("listen = []"), "1: `version = 1` is missing");
    assert_eq!(problem("\nversion = 2\nnew_key = 1"), "2: version 2: this program reads version 1");
    assert!(problem("version = '1'").starts_with("1: version \"1\": "));
    assert!(problem("version = 1\n\n= 3").starts_with("3: "), "{}", problem("version = 1\n\n= 3"));
}

#[test]
fn an_unknown_key_is_an_error_on_its_line() {
    assert!(
        problem("version = 1\nlisten = []\nlistne = []").starts_with("3: unknown field `listne`, expected")
    );
    let text = format!("{SMALL}host = []\n");
    assert!(problem(&text).starts_with("4: unknown field `host`"), "{}", problem(&text));
    let text = format!("{SMALL}[[subsystem.namespace]]\nnsid = 1\ndevice = 'mem:1m'\nsize = 1\n");
    assert!(problem(&text).starts_with("7: unknown field `size`"));
    assert!(problem("version = 1\n[buffers]\nx = 1").starts_with("3: unknown field `x`"));
    assert!(problem("version = 1\nlog = 3").starts_with("2: invalid type: integer `3`"));
}

#[test]
fn each_value_is_judged_on_its_line() {
    let cases = [
        ("listen = ['localhost']", "2: `localhost` is no address"),
        ("listen = ['127.0.0.1', '127.0.0.1:4420']", "2: 127.0.0.1:4420 is listed twice"),
        ("provider = 'hard'", "2: `hard` is no provider"),
        ("poll = 'never'", "2: `never` is no way to wait"),
        ("reactors = 0", "2: reactors: 1 to 64"),
        ("cores = [99999]", "2: core 99999: this process may not run there"),
        ("metrics = '127.0.0.1'", "2: `127.0.0.1` is no address with a port"),
        ("log = 'loud'", "2: `loud` is no level"),
        ("control = ''", "2: a path, or none"),
        ("drain_timeout_s = 4000", "2: drain_timeout_s: at most 3600"),
        ("[buffers]\ndata = '1MB'", "3: `MB` in `1MB` is no unit"),
        ("[buffers]\ndata = -1", "3: invalid value: integer `-1`, expected a size"),
        ("[buffers]\ndata = '1MiB'", "3: data = 1048576: 4194304 to 68719476736"),
        ("[buffers]\nreceives = 1", "3: receives = 1: 64 to 32768"),
        ("[limits]\nio_queues = 4\nio_queue_entries = 1", "4: an I/O queue has 2 to 4096 entries"),
        ("[limits]\nin_capsule = 7", "3: in-capsule data is a multiple of 16 bytes"),
        ("[limits]\ntransfer_max = '99GiB'", "3: the largest transfer"),
    ];
    for (text, wanted) in cases {
        let found = problem(&format!("version = 1\n{text}\n"));
        assert!(found.starts_with(wanted), "{text}: {found}");
    }
}

#[test]
fn subsystems_are_judged_on_their_lines() {
    let cases = [
        ("nqn = 'iqn.2024'", "3: an NVMe qualified name begins with"),
        ("nqn = 'nqn.2014-08.org.nvmexpress.discovery'", "3: every target has the discovery subsystem"),
        ("nqn = 'nqn.2024-05.com.exämple'", "3: a subsystem's name is ASCII"),
        (
            "nqn = 'nqn.2024-05.a'\nserial = '123456789012345678901'",
            "4: a serial number is 1 to 20 printable",
        ),
        ("nqn = 'nqn.2024-05.a'\nmodel = 'ä'", "4: a model is 1 to 40 printable"),
        ("nqn = 'nqn.2024-05.a'\ncntlid = [1, 65520]", "4: controller identifiers are 1 to 65519"),
        ("nqn = 'nqn.2024-05.a'\ncntlid = [0, 1]", "4: controller identifiers are 1 to 65519"),
        ("nqn = 'nqn.2024-05.a'\ncntlid = [2, 1]", "4: controller identifiers are 1 to 65519"),
        ("nqn = 'nqn.2024-05.a'\nhosts = [\n'nqn.2024-05.b',\n'host']", "6: an NVMe qualified name begins"),
        (
            "nqn = 'nqn.2024-05.a'\n[[subsystem]]\nnqn = 'nqn.2024-05.a'",
            "5: subsystem nqn.2024-05.a is there",
        ),
    ];
    for (text, wanted) in cases {
        let found = problem(&format!("version = 1\n[[subsystem]]\n{text}\n"));
        assert!(found.starts_with(wanted), "{text}: {found}");
    }
}

#[test]
fn namespaces_are_judged_on_their_lines() {
    let cases = [
        ("nsid = 0\ndevice = 'mem:1m'", "5: nsid 0: numbers are 1 to 1024"),
        ("nsid = 1025\ndevice = 'mem:1m'", "5: nsid 1025: numbers are 1 to 1024"),
        ("nsid = 1\ndevice = 'disk:/d'", "6: `disk:` is no kind of device"),
        ("nsid = 1\ndevice = 'mem:1MB'", "6: mem: `MB` in `1MB` is no unit"),
        ("nsid = 1\ndevice = 'mem:1m'\noffset = '1x'", "7: `x` in `1x` is no unit"),
        ("nsid = 1\ndevice = 'mem:1m'\nlength = 0", "7: a length of 0 bytes"),
        ("nsid = 1\ndevice = 'mem:1m'\nuuid = '12'", "7: `12` is no UUID"),
        ("nsid = 1\ndevice = 'mem:1m'\nnguid = '12'", "7: `12` is no NGUID"),
        (
            "nsid = 1\ndevice = 'mem:1m'\n[[subsystem.namespace]]\nnsid = 1\ndevice = 'mem:1m'",
            "8: nsid 1 is there twice",
        ),
        (
            "nsid = 1\ndevice = 'file:/d'\n[[subsystem.namespace]]\nnsid = 2\ndevice = 'file:/d'\noffset = '1m'",
            "9: file:/d?offset=1m and file:/d are (partly) the same bytes",
        ),
        ("nsid = 1", "4: missing field `device`"),
    ];
    for (text, wanted) in cases {
        let found = problem(&format!("{SMALL}[[subsystem.namespace]]\n{text}\n"));
        assert!(found.starts_with(wanted), "{text}: {found}");
    }
}

#[test]
fn one_device_serves_several_subsystems_in_parts() {
    let subsystem = |name: &str, part: &str| {
        format!(
            "[[subsystem]]\nnqn = 'nqn.2024-05.com.example:{name}'\n[[subsystem.namespace]]\nnsid = 1\n\
             device = 'nvme:0000:01:00.0/1'\n{part}\n"
        )
    };
    let both = |first, second| format!("version = 1\n{}{}", subsystem("a", first), subsystem("b", second));
    assert_eq!(problems(&both("length = '1GiB'", "offset = '1GiB'")), [""; 0]);
    assert_eq!(problems(&both("read_only = true", "read_only = true")), [""; 0]);
    assert!(problem(&both("", "read_only = true")).starts_with("12: nvme:0000:01:00.0/1 and "));
    let mixed = both("length = '1GiB'", "offset = '1GiB'\nread_only = true");
    assert!(
        problem(&mixed).starts_with("12: parts of one device, which is opened once, are all `read_only`")
    );
}

#[test]
fn namespaces_of_all_subsystems_are_bounded() {
    let namespace = |nsid: u32| format!("[[subsystem.namespace]]\nnsid = {nsid}\ndevice = 'mem:1m'\n");
    let subsystem = |name: usize| {
        let namespaces: String = (1..=1024).map(namespace).collect();
        format!("[[subsystem]]\nnqn = 'nqn.2024-05.com.example:{name}'\n{namespaces}")
    };
    let most: String = (0..4).map(subsystem).collect();
    assert_eq!(problems(&format!("version = 1\n{most}")), [""; 0]);
    let more = format!("version = 1\n{most}[[subsystem]]\nnqn = 'nqn.2024-05.a'\n{}", namespace(1));
    assert!(problem(&more).ends_with(": more than 4096 namespaces"));
}

proptest! {
    #[test]
    fn any_text_is_answered(text in "(version = 1\n)?.*") {
        let _ = from_toml(&text, &machine());
    }

    #[test]
    fn any_value_of_any_key_is_answered(
        section in "(|\\[buffers\\]\n|\\[limits\\]\n|\\[\\[subsystem\\]\\]\n)",
        key in "(listen|cores|reactors|data|receives|io_queues|transfer_max|nqn|cntlid|hosts|log|control)",
        value in "(-1|0|1|65536|99999999999999999999|''|'x'|'1EiB'|\\[\\]|\\[''\\]|\\[1, 2\\]|\\[9, 1\\]|true|1.5)",
    ) {
        let _ = from_toml(&format!("version = 1\n{section}{key} = {value}\n"), &machine());
    }
}

#[test]
fn all_problems_are_told_at_once() {
    let found = problems("version = 1\nlog = 'x'\npoll = 'x'\n[[subsystem]]\nnqn = 'x'\n");
    assert_eq!(found.iter().map(|problem| &problem[..1]).collect::<Vec<_>>(), ["2", "3", "5"]);
}

fn shortest() -> Shortest {
    Shortest {
        listen: vec!["127.0.0.2".to_owned()],
        namespaces: vec!["soft-nvme:/d?size=4GiB".to_owned(), "mem:1GiB".to_owned()],
        allow_any_host: true,
        ..Default::default()
    }
}

#[test]
fn the_shortest_start_needs_no_file() {
    let config = from_arguments(&shortest(), &machine()).unwrap();
    assert_eq!(config.listeners, ["127.0.0.2:4420".parse().unwrap()]);
    let (nqn, subsystem) = config.subsystems.first_key_value().unwrap();
    assert!(nqn.as_str().starts_with("nqn.2014-08.org.nvmexpress:uuid:"));
    assert!(subsystem.hosts.any);
    assert_eq!(subsystem.namespaces.keys().copied().collect::<Vec<_>>(), [Nsid(1), Nsid(2)]);
    assert_eq!(from_arguments(&shortest(), &machine()), Ok(config), "the same again");
    let here = from_arguments(&Shortest::default(), &machine()).unwrap();
    assert_eq!(here.listeners, ["127.0.0.1:4420".parse().unwrap()], "this machine only");
    assert!(!here.subsystems.values().any(|subsystem| subsystem.hosts.any), "nobody may attach");
}

#[test]
fn arguments_are_judged_by_name() {
    let said = |of: Shortest| match from_arguments(&of, &machine()) {
        Err(problems) => ConfigError::Problems { name: String::new(), problems }.to_string(),
        Ok(_) => panic!("{of:?} is no problem"),
    };
    let text = |text: &str| vec![text.to_owned()];
    assert!(said(Shortest { listen: text("x"), ..shortest() }).starts_with("--listen: `x` is no address"));
    assert!(
        said(Shortest { namespaces: text("x"), ..shortest() }).starts_with("--namespace: `x` names no kind")
    );
    assert!(
        said(Shortest { nqn: Some("x".to_owned()), ..shortest() }).starts_with("--nqn: an NVMe qualified")
    );
    assert!(said(Shortest { hosts: text("x"), ..shortest() }).starts_with("--host: an NVMe qualified"));
    let twice = vec!["file:/d".to_owned(), "file:/d".to_owned()];
    let found = said(Shortest { namespaces: twice, ..shortest() });
    assert_eq!(found, "--namespace: file:/d is (partly) that of namespace 1 too");
}

#[test]
fn the_example_of_the_documentation_is_good() {
    let path = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/remora-target.toml"));
    let config = load(path).unwrap();
    assert_eq!(config.subsystems.values().map(|subsystem| subsystem.namespaces.len()).sum::<usize>(), 3);
    // What it calls the value that counts is that; the example has no more keys than are read.
    let text = std::fs::read_to_string(path).unwrap();
    let is_key = |line: &str| line.starts_with("# ") && line.contains(" = ") && !line.contains("cores");
    let all: String = text
        .lines()
        .map(|line| if is_key(line) { line.trim_start_matches("# ") } else { line })
        .filter(|line| !line.starts_with("control") && !line.starts_with("serial"))
        .filter(|line| !line.starts_with("nguid"))
        .fold(String::new(), |all, line| all + line + "\n");
    let all = from_toml(&all, &Machine::this()).unwrap();
    assert_eq!(all, config);
}
