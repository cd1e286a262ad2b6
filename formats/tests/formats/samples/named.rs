//! Tables with names in their first line, and what SPDK prints.

use formats::{ImportOptions, ImportSummary};
use traces::{CommandRecord, Reader, Record};

use super::lines::said;
use crate::common::{import, import_all};

pub(crate) const WLC: &str = "\
#DUMP_OFFSET.I,ELAPSED_USECS.D,ELAPSED_TICKS.I,CMD.S,INFLIGHT_IOS.I,LUN_SSID.I,LBA.I,NBLKS.I,LATENCY_USECS.D
0,10.500,0,RD_IN,0,3,64,32,438.250
1,11.000,9,WR_OUT,1,4,128,8,90.000
2,12.000,9,UNMAP,1,3,0,2048,70
3,12.500,9,INQUIRY,1,3,0,0,1
4,13.000,9,SYNC_CACHE,1,3,0,0,5
";

pub(crate) const IOTRACE: &str = "\
device.id,device.name,device.partition,file.eventType,file.id,file.offset,file.path,file.size,header.sid,header.timestamp,io.error,io.flush,io.fua,io.ioClass,io.latency,io.lba,io.len,io.operation,io.qd,io.writeHint
8388608,sda,8388608,,,,,,48,5000000100,false,false,true,1,145584,64,8,Write,16,0
8388608,sda,8388608,,,,,,65,5000000200,false,true,false,1,900,72,8,Write,1,0
8388608,sda,265289728,Access,17,0,\"/var/lib/a, b.db\",64,69,5000000300,true,false,false,13,121,128,16,Read,1,0
8388608,sda,265289728,Create,17,0,/var/lib/c,64,70,5000000350,,,,,,,,,,
27158118,nvme0n1,27158118,,,,,,71,5000000400,false,false,false,0,,0,0,Write,1,0
27158118,nvme0n1,27158118,,,,,,72,5000000500,false,false,false,0,30,0,2048,Discard,1,0
";

pub(crate) const WPA: &str = "\
Process,IO Type,Disk,Init Time (s),Complete Time (s),IO Time (\u{b5}s),Size (B),Min Offset,Path Name
a.exe (12),Read,0,0.001000100,0.001500100,500,\"4,096\",\"1,048,576\",\"C:\\a, b.txt\"
System (4),Write,1,0.002000000,0.002100000,100,512,0x200,C:\\x
System (4),Flush,1,0.003000000,0.003250000,250,0,0,
,,,,,,,,
";

pub(crate) const SPDK: &str = "\
TSC Rate: 2000000000
Trace Size of lcore (0): 32768
 0:      0.000 (        0) q01  NVME_PCIE_SUBMIT                                id:    p0              cid:   12               opc:   2                dw10:  0x1000           dw11:  0x1              dw12:  0x40000007
 1:      1.000 (     2000) q02  NVME_PCIE_SUBMIT                                id:    p1              cid:   12               opc:   1                dw10:  0x20             dw11:  0x0              dw12:  0x0
 0:      2.000 (     4001)      BDEV_IO_START                    size:   8      id:    b0
 0:     80.000 (   160000) q01  NVME_PCIE_COMPLETE                              id:    p0              time:  80.000           cid:   12               cpl:   0x1
 0:     90.000 (   180000) q01  NVME_PCIE_SUBMIT                                id:    p2              cid:   12               opc:   0                dw10:  0x0              dw11:  0x0              dw12:  0x0
 1:     95.000 (   190000) q02  NVME_PCIE_COMPLETE                              id:    p1              time:  94.000           cid:   12               cpl:   0x8503
 1:     96.000 (   192000) q02  NVME_PCIE_COMPLETE                              id:    N/A             cid:   99               cpl:   0x1
 0:     97.000 (   194000) q00  NVME_PCIE_SUBMIT                                id:    p3              cid:   1                opc:   6                dw10:  0x1              dw11:  0x0              dw12:  0x0
";

fn whole(format: &str, text: &str) -> (Reader, ImportSummary) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("sample");
    std::fs::write(&path, text).unwrap();
    let input = formats::Input::new(vec![path.clone()]);
    assert_eq!(formats::detect(&input).unwrap().name, format);
    let format = formats::find(format).unwrap();
    import(&path, format, &ImportOptions::default()).unwrap()
}

#[test]
fn hfplayer_has_microseconds_and_blocks_and_commands_of_scsi() {
    let (reader, summary) = whole("hfplayer", WLC);
    assert_eq!(
        said(&reader),
        [
            "0 438250 Read 64+32 1/1",
            "500 90000 Write 128+8 1/2",
            "1500 70000 Dataset Management 0+2048 1/1",
            "2500 5000 Flush - 1/1",
        ]
    );
    assert_eq!(summary.devices, ["LUN 3", "LUN 4"]);
    let other = "rows that are neither reads nor writes were left out";
    assert_eq!(summary.notes.to_string(), format!("{other}: 1"));
}

#[test]
fn iotrace_has_flags_and_flushes_without_a_name() {
    let (reader, summary) = whole("iotrace", IOTRACE);
    assert_eq!(
        said(&reader),
        [
            "0 145584 Write 64+8 1/1",
            "100 - Flush - 1/1",
            "100 900 Write 72+8 1/1",
            "200 121 Read 128+16 1/1",
            "300 - Flush - 1/2",
            "400 30 Dataset Management 0+2048 1/2",
        ]
    );
    assert_eq!(summary.devices, ["sda", "nvme0n1"]);
    let commands = commands(&reader);
    assert!(commands[0].fua() && !commands[2].fua());
    let failed = |it: &CommandRecord| it.completion.unwrap().status.is_success();
    assert!(failed(&commands[0]) && !failed(&commands[3]));
}

#[test]
fn the_analyzer_has_units_in_names_and_signs_between_thousands() {
    let expected = [
        "0 500000 Read 2048+8 1/1",
        "999900 100000 Write 1+1 1/2",
        "1999900 250000 Flush - 1/2",
    ];
    let (reader, summary) = whole("wpa", WPA);
    assert_eq!(said(&reader), expected);
    assert_eq!(summary.devices, ["disk 0", "disk 1"]);
    // As it is copied from the program's window, without the time of issue.
    let lines = "IO Type\tComplete Time (ms)\tIO Time (ms)\tMin Offset (B)\tSize (KB)\tDisk\n\
                 Read\t1.5001\t0.5\t1,048,576\t4\t0\n\
                 Write\t2.1\t0.1\t512\t0.5\t1\n";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("copied.txt");
    std::fs::write(&path, lines).unwrap();
    let wpa = formats::find("wpa").unwrap();
    let error = import(&path, wpa, &ImportOptions::default()).unwrap_err();
    assert!(error.to_string().contains("line 3: the length is \"0.5\""));
    std::fs::write(&path, lines.replace("512\t0.5", "512\t1")).unwrap();
    let (reader, _) = import(&path, wpa, &ImportOptions::default()).unwrap();
    let copied = ["0 500000 Read 2048+8 1/1", "999900 100000 Write 1+2 1/2"];
    assert_eq!(said(&reader), copied);
}

fn commands(reader: &Reader) -> Vec<CommandRecord> {
    let commands = reader.records().map(|record| match record.unwrap() {
        Record::Command { command, .. } => command,
        other => panic!("{other:?}"),
    });
    commands.collect()
}

#[test]
fn spdk_prints_whole_commands_and_ticks() {
    let (reader, summary) = whole("spdk", SPDK);
    let commands = commands(&reader);
    let said: Vec<_> = commands
        .iter()
        .map(|it| {
            let status = it.completion.map(|it| it.status.field());
            let range = it.lba_range().map(|it| (it.0.0, it.1));
            (
                it.submit_ns,
                it.latency_ns(),
                it.queue.0,
                it.opcode,
                range,
                status,
            )
        })
        .collect();
    assert_eq!(
        said,
        [
            (0, Some(80_000), 1, 2, Some((0x1_0000_1000, 8)), Some(0)),
            (1_000, Some(94_000), 2, 1, Some((0x20, 1)), Some(0x4281)),
            (90_000, None, 1, 0, None, None),
            (97_000, None, 0, 6, None, None),
        ]
    );
    assert!(commands[0].fua());
    assert_eq!(commands[0].nsid.0, 1);
    assert_eq!(commands[3].cdw10_15[0], 1);
    assert_eq!(
        summary.notes.to_string(),
        "commands have no completion in the trace: 2\n\
         completions of commands that were submitted before the trace were left out: 1\n\
         lines of other events were left out: 1"
    );
}

#[test]
fn spdk_without_ticks_has_microseconds() {
    let lines = " 7:    500.250      NVME_PCIE_SUBMIT  cid: 1 opc: 1 dw10: 0x8 dw11: 0x0 dw12: 0x0\n\
                 \x20 7:    501.250      NVME_PCIE_COMPLETE cid: 1\n\
                 \x20 7:    502.000      NVME_PCIE_SUBMIT  cid: 1 opc: 1 dw10: 0x8 dw12: 0x0\n";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("spdk.txt");
    std::fs::write(&path, lines).unwrap();
    let spdk = formats::find("spdk").unwrap();
    let error = import(&path, spdk, &ImportOptions::default()).unwrap_err();
    assert!(
        error.to_string().contains("line 3: there is no dw11"),
        "{error}"
    );
    let mut options = ImportOptions::default();
    options.salvage = true;
    let (reader, _) = import(&path, spdk, &options).unwrap();
    assert_eq!(said(&reader), ["0 1000 Write 8+1 1/1"]);
}

#[test]
fn tables_of_several_files_are_merged() {
    let directory = tempfile::tempdir().unwrap();
    for (format, text) in [("hfplayer", WLC), ("iotrace", IOTRACE), ("wpa", WPA)] {
        let format = formats::find(format).unwrap();
        let mut lines = text.split_inclusive('\n');
        let head = lines.next().unwrap();
        let mut halves = [head.to_owned(), head.to_owned()];
        for (number, line) in lines.enumerate() {
            halves[number % 2] += line;
        }
        let paths = [0, 1].map(|number| directory.path().join(format!("{number}")));
        for (path, half) in paths.iter().zip(&halves) {
            std::fs::write(path, half).unwrap();
        }
        let whole = directory.path().join("whole");
        std::fs::write(&whole, text).unwrap();
        let options = ImportOptions::default();
        let (merged, _) = import_all(paths.to_vec(), format, &options).unwrap();
        let (together, _) = import(&whole, format, &options).unwrap();
        assert_eq!(said(&merged), said(&together), "{}", format.name);
    }
}
