// Sends requests with Node's fetch and its http module, and prints a line for each case: its name and the result.
import http from "node:http";
import { gzipSync } from "node:zlib";

const [address, row] = process.argv.slice(2);

async function ask(name, path, options) {
  const answer = await fetch(address + path, options);
  const text = await answer.text();
  console.log(`${name}\t${answer.status}\t${text.includes("setosa")}`);
}

const json = { "content-type": "application/json" };
await ask("POST", "/predict", { method: "POST", body: row, headers: json });
await ask("kept open", "/predict", { method: "POST", body: row, headers: json });
const stream = new Blob([row]).stream();
await ask("chunked", "/predict", { method: "POST", body: stream, headers: json, duplex: "half" });
await ask("gzip", "/predict", { method: "POST", body: gzipSync(row), headers: { ...json, "content-encoding": "gzip" } });
const many = JSON.stringify({ instances: Array(1000).fill(JSON.parse(row).features) });
await ask("gzip answer", "/predict", { method: "POST", body: many, headers: json });
await ask("HEAD", "/health/ready", { method: "HEAD" });
await ask("OPTIONS", "/predict", { method: "OPTIONS" });

// The lower-level module, which can wait for 100 Continue.
await new Promise((resolve, reject) => {
  const headers = { ...json, expect: "100-continue", "content-length": Buffer.byteLength(row) };
  const request = http.request(address + "/predict", { method: "POST", headers }, answer => {
    let text = "";
    answer.on("data", piece => { text += piece; });
    answer.on("end", () => { console.log(`Expect\t${answer.statusCode}\t${text.includes("setosa")}`); resolve(); });
  });
  request.on("continue", () => request.end(row));
  request.on("error", reject);
  request.flushHeaders();
});
