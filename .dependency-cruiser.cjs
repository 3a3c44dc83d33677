/** The arrows of the architecture: kernels <- engine <- nn <- deit <- bench, test. */
const rooms = ['kernels', 'engine', 'nn', 'deit'];
const upward = rooms.slice(0, -1).map((room, i) => ({
  name: `${room}-looks-down-only`,
  severity: 'error',
  from: { path: `^${room}/` },
  to: { path: `^(${[...rooms.slice(i + 1), 'bench', 'test'].join('|')})/` },
}));
module.exports = {
  forbidden: [
    ...upward,
    { name: 'deit-looks-down-only', severity: 'error', from: { path: '^deit/' }, to: { path: '^(bench|test)/' } },
    {
      name: 'kernels-are-imported-by-engine-alone',
      severity: 'error',
      from: { path: '^(nn|deit)/' },
      to: { path: '^kernels/' },
    },
    {
      name: 'gpu-room-knows-no-tensor',
      severity: 'error',
      from: { path: '^engine/gpu/' },
      to: { path: '^engine/(ops/|tensor|tape|op\\.)' },
    },
    {
      name: 'tensor-knows-no-operator',
      severity: 'error',
      from: { path: '^engine/(tensor|tape|op)\\.ts' },
      to: { path: '^engine/ops/' },
    },
    {
      // Of the browser's page only the bundle is used, which has its packages in it.
      name: 'what-is-published-imports-what-is-installed-with-it',
      severity: 'error',
      from: { path: `^(${rooms.join('|')})/`, pathNot: '^deit/browser/' },
      to: { dependencyTypes: ['npm-dev', 'npm-no-pkg', 'npm-unknown'], dependencyTypesNot: ['type-only'] },
    },
    {
      name: 'no-circular',
      severity: 'error',
      from: {},
      to: { circular: true },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsPreCompilationDeps: true,
    tsConfig: { fileName: 'tsconfig.json' },
    enhancedResolveOptions: { extensions: ['.ts', '.js', '.mjs', '.cjs', '.json'] },
  },
};
