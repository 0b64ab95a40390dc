// For the build, svelte-check and editors alike.
export default { compilerOptions: { runes: true } };
