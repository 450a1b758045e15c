use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::{Global, quantity};
use crate::container::update::{self, Schemata};
use crate::error::{Error, Kind, Result};
use crate::log::Log;
use crate::spec;

#[derive(Debug, Args)]
pub struct Update {
    /// Name of the container
    #[arg(value_name = "ID")]
    id: String,
    /// JSON file with resources as in config.json, or - for standard input; the flags below say nothing then
    #[arg(long, short, value_name = "FILE")]
    resources: Option<PathBuf>,
    /// Weight for block I/O, 10 to 1000
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    blkio_weight: Option<String>,
    /// Period of the CPU quota, in microseconds
    #[arg(long, value_name = "USEC", allow_hyphen_values = true)]
    cpu_period: Option<String>,
    /// CPU time in a period, in microseconds, or -1
    #[arg(long, value_name = "USEC", allow_hyphen_values = true)]
    cpu_quota: Option<String>,
    /// CPU time that may be saved for a burst, in microseconds
    #[arg(long, value_name = "USEC", allow_hyphen_values = true)]
    cpu_burst: Option<String>,
    /// Relative weight for CPU time
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    cpu_share: Option<String>,
    /// Period of real-time CPU time, in microseconds
    #[arg(long, value_name = "USEC", allow_hyphen_values = true)]
    cpu_rt_period: Option<String>,
    /// Real-time CPU time in a period, in microseconds
    #[arg(long, value_name = "USEC", allow_hyphen_values = true)]
    cpu_rt_runtime: Option<String>,
    /// 1: run when nobody else does
    #[arg(long, value_name = "0|1", allow_hyphen_values = true)]
    cpu_idle: Option<String>,
    /// CPUs to run on, such as 0-2,7
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,
    /// Memory nodes to allocate from
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,
    #[arg(long, hide = true, allow_hyphen_values = true)]
    kernel_memory: Option<String>,
    #[arg(long, hide = true, allow_hyphen_values = true)]
    kernel_memory_tcp: Option<String>,
    /// Most memory, in bytes or with k, m, g, or -1
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory: Option<String>,
    /// Memory that is kept for it, in bytes or with k, m, g
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory_reservation: Option<String>,
    /// Most memory and swap together, in bytes or with k, m, g, or -1
    #[arg(long, value_name = "SIZE", allow_hyphen_values = true)]
    memory_swap: Option<String>,
    /// Most processes and threads, or -1
    #[arg(long, value_name = "N", allow_hyphen_values = true)]
    pids_limit: Option<String>,
    /// Intel RDT: L3 cache schema
    #[arg(long, value_name = "SCHEMA")]
    l3_cache_schema: Option<String>,
    /// Intel RDT: memory bandwidth schema
    #[arg(long, value_name = "SCHEMA")]
    mem_bw_schema: Option<String>,
}

impl Update {
    pub fn run(&self, global: &Global, log: &Log) -> Result<i32> {
        let entry = global.find(&self.id)?;
        let file = self.resources.as_deref().filter(|f| !f.as_os_str().is_empty());
        let (resources, warnings) = match file {
            Some(file) => spec::load_resources(file)?,
            None => spec::parse_resources(self.document()?.to_string().as_bytes())?,
        };
        warnings.iter().for_each(|w| log.warn(w));
        update::update(&entry, &resources, &self.schemata(), log).map(|()| 0)
    }

    /// The flags as the document that `--resources` would bring.
    fn document(&self) -> Result<Value> {
        let mut doc = json!({"cpu": {}, "memory": {}, "blockIO": {}, "pids": {}});
        let mut put = |group: &str, member: &str, value: Option<Value>| {
            if let (Some(value), Some(Value::Object(group))) = (value, doc.get_mut(group)) {
                let group: &mut Map<_, _> = group;
                group.insert(member.to_owned(), value);
            }
        };
        put("blockIO", "weight", number::<u16>("blkio-weight", &self.blkio_weight)?);
        put("cpu", "period", number::<u64>("cpu-period", &self.cpu_period)?);
        put("cpu", "quota", number::<i64>("cpu-quota", &self.cpu_quota)?);
        put("cpu", "burst", number::<u64>("cpu-burst", &self.cpu_burst)?);
        put("cpu", "shares", number::<u64>("cpu-share", &self.cpu_share)?);
        put("cpu", "realtimePeriod", number::<u64>("cpu-rt-period", &self.cpu_rt_period)?);
        put("cpu", "realtimeRuntime", number::<i64>("cpu-rt-runtime", &self.cpu_rt_runtime)?);
        put("cpu", "idle", number::<i64>("cpu-idle", &self.cpu_idle)?);
        put("cpu", "cpus", given(&self.cpuset_cpus).map(Value::from));
        put("cpu", "mems", given(&self.cpuset_mems).map(Value::from));
        put("memory", "limit", bytes("memory", &self.memory)?);
        put("memory", "swap", bytes("memory-swap", &self.memory_swap)?);
        put("memory", "reservation", bytes("memory-reservation", &self.memory_reservation)?);
        put("memory", "kernel", bytes("kernel-memory", &self.kernel_memory)?);
        put("memory", "kernelTCP", bytes("kernel-memory-tcp", &self.kernel_memory_tcp)?);
        put("pids", "limit", number::<i64>("pids-limit", &self.pids_limit)?);
        Ok(doc)
    }

    fn schemata(&self) -> Schemata {
        let owned = |flag| given(flag).map(str::to_owned);
        Schemata { l3: owned(&self.l3_cache_schema), bandwidth: owned(&self.mem_bw_schema) }
    }
}

/// As with runc, an empty value is none.
fn given(flag: &Option<String>) -> Option<&str> {
    flag.as_deref().filter(|v| !v.is_empty())
}

fn number<N: std::str::FromStr + Into<Value>>(name: &str, flag: &Option<String>) -> Result<Option<Value>> {
    let Some(text) = given(flag) else { return Ok(None) };
    let wrong = |_| Error::new(Kind::Usage, format!("invalid value for {name}: {text:?} is no such number"));
    text.parse::<N>().map(|n| Some(n.into())).map_err(wrong)
}

fn bytes(name: &str, flag: &Option<String>) -> Result<Option<Value>> {
    let Some(text) = given(flag) else { return Ok(None) };
    if text == "-1" {
        return Ok(Some((-1).into()));
    }
    quantity::size(text).map(|n| Some(n.into())).map_err(|e| e.within(format!("invalid value for {name}")))
}
