//! `linux.resources.blockIO`, which both versions write in much the same way.

use oci_spec::runtime::{LinuxBlockIo, LinuxThrottleDevice};

use super::write::Write;

const AT: &str = "/linux/resources/blockIO";

type Throttle<'a> = (&'static str, &'static str, &'static str, &'a Option<Vec<LinuxThrottleDevice>>);

/// (member of config.json, v1's file, v2's key, devices)
fn throttles(io: &LinuxBlockIo) -> [Throttle<'_>; 4] {
    [
        ("throttleReadBpsDevice", "blkio.throttle.read_bps_device", "rbps", io.throttle_read_bps_device()),
        ("throttleWriteBpsDevice", "blkio.throttle.write_bps_device", "wbps", io.throttle_write_bps_device()),
        (
            "throttleReadIOPSDevice",
            "blkio.throttle.read_iops_device",
            "riops",
            io.throttle_read_iops_device(),
        ),
        (
            "throttleWriteIOPSDevice",
            "blkio.throttle.write_iops_device",
            "wiops",
            io.throttle_write_iops_device(),
        ),
    ]
}

/// The weight files of the CFQ scheduler (until Linux 5.0), or BFQ's.
pub fn v1(io: &LinuxBlockIo) -> Vec<Write> {
    let mut all = Vec::new();
    if let Some(v) = io.weight().filter(|v| *v != 0) {
        all.push(Write::new("blkio", "blkio.weight", v, format!("{AT}/weight")).or("blkio.bfq.weight", v));
    }
    if let Some(v) = io.leaf_weight().filter(|v| *v != 0) {
        all.push(Write::new("blkio", "blkio.leaf_weight", v, format!("{AT}/leafWeight")));
    }
    for (i, d) in io.weight_device().iter().flatten().enumerate() {
        let at = format!("{AT}/weightDevice/{i}");
        let line = |v: u16| format!("{}:{} {v}", d.major(), d.minor());
        if let Some(v) = d.weight().filter(|v| *v != 0) {
            let w = Write::new("blkio", "blkio.weight_device", line(v), at.clone());
            all.push(w.or("blkio.bfq.weight_device", line(v)));
        }
        if let Some(v) = d.leaf_weight().filter(|v| *v != 0) {
            all.push(Write::new("blkio", "blkio.leaf_weight_device", line(v), at));
        }
    }
    for (name, file, _, devices) in throttles(io) {
        for (i, d) in devices.iter().flatten().enumerate() {
            let line = format!("{}:{} {}", d.major(), d.minor(), d.rate());
            all.push(Write::new("blkio", file, line, format!("{AT}/{name}/{i}")));
        }
    }
    all
}

/// BFQ's weight where the scheduler is there, else `io.weight` on its own scale. Leaf weights have no counterpart,
/// and per-device weights none without BFQ (as in runc, they are left out then).
pub fn v2(io: &LinuxBlockIo) -> Vec<Write> {
    let mut all = Vec::new();
    if let Some(v) = io.weight().filter(|v| *v != 0) {
        let w = Write::new("io", "io.bfq.weight", v, format!("{AT}/weight"));
        all.push(w.or("io.weight", io_weight(v)));
    }
    for (i, d) in io.weight_device().iter().flatten().enumerate() {
        let line = format!("{}:{} {}", d.major(), d.minor(), d.weight().unwrap_or(0));
        let at = format!("{AT}/weightDevice/{i}");
        all.push(Write::new("io", "io.bfq.weight", line, at).skip_if_missing());
    }
    for (name, _, key, devices) in throttles(io) {
        for (i, d) in devices.iter().flatten().enumerate() {
            let line = format!("{}:{} {key}={}", d.major(), d.minor(), d.rate());
            all.push(Write::new("io", "io.max", line, format!("{AT}/{name}/{i}")));
        }
    }
    all
}

/// blkio.weight (10…1000) on io.weight's scale (1…10000), linear: 1 + (x − 10) × 9999 / 990.
pub fn io_weight(v: u16) -> u64 {
    1 + u64::from(v.max(10) - 10) * 9999 / 990
}

#[cfg(test)]
mod tests {
    #[test]
    fn weight_scale() {
        for (v1, v2) in [(10, 1), (500, 4950), (1000, 10000), (1, 1)] {
            assert_eq!(super::io_weight(v1), v2, "{v1}");
        }
    }
}
