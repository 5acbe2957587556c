// A key pair and a token that it signs: node token.mjs FOLDER writes jwks.json and token.

import crypto from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';

const [folder] = process.argv.slice(2);
const { publicKey, privateKey } = crypto.generateKeyPairSync('ed25519');
const encode = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const claims = {
  iss: 'https://issuer.example', aud: 'records-gateway', sub: 'person', scope: '*:*',
  exp: Math.floor(Date.now() / 1000) + 3600,
};
const signed = `${encode({ alg: 'EdDSA', kid: 'test', typ: 'JWT' })}.${encode(claims)}`;
const signature = crypto.sign(null, Buffer.from(signed), privateKey).toString('base64url');
const key = { ...publicKey.export({ format: 'jwk' }), kid: 'test', alg: 'EdDSA', use: 'sig' };
fs.writeFileSync(path.join(folder, 'jwks.json'), JSON.stringify({ keys: [key] }));
fs.writeFileSync(path.join(folder, 'token'), `${signed}.${signature}`);
