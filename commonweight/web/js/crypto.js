// The wallet library, for keccak, signatures and checksums only: fetched when first needed, never before the first paint.

let library = null;

export const ethers = () => (library ??= import("../vendor/ethers-6.17.0.min.js"));

export async function checksum(address) {
  return (await ethers()).getAddress(address);
}
