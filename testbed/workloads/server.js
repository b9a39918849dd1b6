// A key-value server for Node.js that speaks a part of redis' protocol (GET, SET, INCR, arrays of bulk strings only), to be
// recorded under the checked load of load.c. One thread serves all connections; timers make garbage, hash it in libuv's
// threads and write a file.
'use strict';
const crypto = require('crypto');
const fs = require('fs');
const net = require('net');

const values = new Map();
let connections = 0, requests = 0, hashes = 0;

class Connection {
  constructor(socket) {
    this.socket = socket;
    this.input = Buffer.alloc(0);
    connections++;
    socket.setNoDelay(true);
    socket.on('data', (data) => this.feed(data));
    socket.on('error', () => {});
    socket.on('close', () => connections--);
  }

  feed(data) {
    this.input = this.input.length ? Buffer.concat([this.input, data]) : data;
    let replies = '';
    for (let request; (request = this.take());) {
      requests++;
      replies += answer(request);
    }
    if (replies) this.socket.write(replies, 'latin1');
  }

  // The words of the next request, or null if it is not all there.
  take() {
    const head = this.line(0, '*');
    if (!head) return null;
    const words = [];
    let at = head.next;
    for (let i = 0; i < head.number; i++) {
      const size = this.line(at, '$');
      if (!size || this.input.length < size.next + size.number + 2) return null;
      words.push(this.input.toString('latin1', size.next, size.next + size.number));
      at = size.next + size.number + 2;
    }
    this.input = this.input.subarray(at);
    return words;
  }

  line(at, kind) {
    const end = this.input.indexOf('\r\n', at);
    if (end < 0) return null;
    const text = this.input.toString('latin1', at, end);
    if (text[0] !== kind) this.socket.destroy();
    return {number: parseInt(text.slice(1), 10), next: end + 2};
  }
}

function answer([command, key, value]) {
  switch (command.toUpperCase()) {
    case 'SET':
      values.set(key, value);
      return '+OK\r\n';
    case 'GET':
      return values.has(key) ? `$${values.get(key).length}\r\n${values.get(key)}\r\n` : '$-1\r\n';
    case 'INCR':
      values.set(key, String(Number(values.get(key) || 0) + 1));
      return `:${values.get(key)}\r\n`;
    default:
      return '-ERR unknown\r\n';
  }
}

setInterval(() => {
  const garbage = Array.from({length: 64}, (_, i) => Buffer.alloc(16384, i));
  crypto.pbkdf2(garbage[requests % 64], 'salt', 100, 32, 'sha256', () => hashes++);
}, 50);
setInterval(() => {
  const line = `${requests} requests, ${hashes} hashes, ${connections} connections, ${new Date().toISOString()}\n`;
  process.stderr.write(line);
  fs.writeFile('/tmp/server.status', line, () => {});
}, 1000);
net.createServer((socket) => new Connection(socket)).listen(6379, '0.0.0.0', 511);
process.on('SIGTERM', () => process.exit(0));
