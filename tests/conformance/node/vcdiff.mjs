// Decodes deltas with the decoder that ably-js is given as a plugin. Reads lines of JSON,
// {source, delta} in base64, and writes the target of each as a line of base64.
import * as readline from 'node:readline';
import vcdiff from '@ably/vcdiff-decoder';

for await (const line of readline.createInterface({ input: process.stdin })) {
  const { source, delta } = JSON.parse(line);
  const target = vcdiff.decode(Buffer.from(delta, 'base64'), Buffer.from(source, 'base64'));
  console.log(Buffer.from(target).toString('base64'));
}
