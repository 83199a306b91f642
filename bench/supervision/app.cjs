// What PM2's workers are, in its cluster mode: the same work as work.py's. The clock is the system's since its boot, as there.
"use strict";
const fs = require("node:fs");
const { BENCH_LOAD: load, BENCH_DIES_AFTER: diesAfter, BENCH_MARKS: folder } = process.env;

function mark(name) {
  const uptime = fs.readFileSync("/proc/uptime", "utf8").split(" ")[0];
  fs.appendFileSync(`${folder}/${name}`, `${process.pid} ${uptime}\n`);
}

mark("born");
if (diesAfter === "0") process.kill(process.pid, "SIGKILL");
if (diesAfter) setTimeout(() => process.kill(process.pid, "SIGKILL"), Number(diesAfter) * 1000);
if (load === "slow") {
  const spent = () => process.cpuUsage().user + process.cpuUsage().system;
  for (const before = spent(); spent() - before < 500_000; );
  globalThis.kept = Array.from({ length: 280_000 }, (_, number) => ({ a: number, b: String(number) })); // some 40 MB
}
setInterval(() => {}, 1 << 30);
mark("ready");
process.send("ready");
