// Node.js: worker threads, shared memory with Atomics, messages, timers, garbage; one checksum a step.
const {Worker, isMainThread, parentPort, workerData} = require('worker_threads');
const crypto = require('crypto');

const WORKERS = 3;

function fail(message) {
  console.error('FAIL ' + message);
  process.exit(1);
}

// Garbage of many shapes, and a digest of all of it.
function churn(seed) {
  const hash = crypto.createHash('sha256');
  const map = new Map();
  let x = (seed * 2654435761 + 12345) >>> 0;
  for (let i = 0; i < 50000; ++i) {
    x = (Math.imul(x, 1664525) + 1013904223) >>> 0;
    map.set(x % 4096, {i, text: 'value ' + x, list: [x, i, x ^ i]});
  }
  for (const key of [...map.keys()].sort((a, b) => a - b)) hash.update(JSON.stringify(map.get(key)));
  return hash.digest();
}

function work() {
  const counters = new Int32Array(workerData.shared);
  parentPort.on('message', (step) => {
    const digest = churn(step * 100 + workerData.number);
    Atomics.add(counters, 0, digest.readUInt16LE(0));
    Atomics.add(counters, 1, 1);
    parentPort.postMessage({number: workerData.number, step, digest});
  });
}

// One step: every worker churns once, a timer fires once, and all of it goes into the checksum.
function step(number, workers, rolling) {
  return new Promise((resolve) => {
    const digests = [];
    const timer = setTimeout(() => fail('expected step ' + number + ' within an hour'), 3600e3);
    const arrived = (message) => {
      if (message.step !== number || digests[message.number])
        fail('expected step ' + number + ' once, saw ' + message.step);
      digests[message.number] = message.digest;
      if (digests.filter(Boolean).length < WORKERS) return;
      clearTimeout(timer);
      const hash = crypto.createHash('sha256').update(rolling);
      digests.forEach((digest) => hash.update(digest));
      setTimeout(() => resolve(hash.digest('hex')), 1);
    };
    workers.forEach((worker) => {
      worker.removeAllListeners('message');
      worker.on('message', arrived);
      worker.postMessage(number);
    });
  });
}

async function main() {
  const at = process.argv.indexOf('--seconds');
  const steps = Math.floor((at < 0 ? 3 : Number(process.argv[at + 1])) * 10) + 1;
  const shared = new SharedArrayBuffer(8);
  const workers = [...Array(WORKERS).keys()].map(
      (number) => new Worker(__filename, {workerData: {number, shared}}));
  workers.forEach((worker) => worker.on('error', (error) => fail('worker: ' + error)));
  console.log('ready');
  let rolling = '';
  for (let number = 0; number < steps; ++number) {
    rolling = await step(number, workers, rolling);
    const counters = new Int32Array(shared);
    if (counters[1] !== (number + 1) * WORKERS)
      fail('expected ' + (number + 1) * WORKERS + ' additions, saw ' + counters[1]);
    console.log('step ' + number + ': ' + rolling.slice(0, 16) + ' ' + counters[0]);
  }
  await Promise.all(workers.map((worker) => worker.terminate()));
  console.log('ok');
}

if (isMainThread)
  main();
else
  work();
