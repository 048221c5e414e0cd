// A short digest of a long text.

const OFFSET_BASIS = 0xcbf29ce484222325n;
const PRIME = 0x100000001b3n;

/**
 * Returns the 64-bit FNV-1a hash of the UTF-8 form of a text, as 16 hexadecimal digits.
 *
 * The hash is not cryptographic: a short text can be guessed from its digest, and two texts may have the same digest.
 * `crypto.subtle` is no alternative: it is missing on plain-http origins other than localhost.
 */
export function digest(text) {
  let hash = OFFSET_BASIS;
  for (const byte of new TextEncoder().encode(text))
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * PRIME);
  return hash.toString(16).padStart(16, "0");
}
