import eslint from '@eslint/js';
import tseslint from 'typescript-eslint';

export default tseslint.config(
  // AssemblyScript has TypeScript's syntax, but types of its own.
  { ignores: ['dist/', 'node_modules/', 'runs/', 'site/', 'deit/data/wasm/assembly/'] },
  eslint.configs.recommended,
  {
    files: ['**/*.ts'],
    extends: [tseslint.configs.recommendedTypeChecked],
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_' }],
      '@typescript-eslint/consistent-type-imports': 'error',
    },
  },
  {
    files: ['deit/assets/report/*.js'],
    languageOptions: {
      sourceType: 'script',
      globals: {
        document: 'readonly',
        getSelection: 'readonly',
        navigator: 'readonly',
        matchMedia: 'readonly',
        getComputedStyle: 'readonly',
        ResizeObserver: 'readonly',
        uPlot: 'readonly',
      },
    },
  },
  {
    files: ['**/*.js', '**/*.cjs', '**/*.mjs'],
    languageOptions: {
      globals: {
        module: 'writable',
        process: 'readonly',
        console: 'readonly',
        performance: 'readonly',
        URL: 'readonly',
      },
    },
  },
  {
    files: ['bench/peers/*.mjs'],
    languageOptions: {
      globals: {
        Buffer: 'readonly',
        navigator: 'readonly',
        GPUBuffer: 'readonly',
        GPUBufferUsage: 'readonly',
        GPUComputePassEncoder: 'readonly',
        GPUDevice: 'readonly',
        GPUMapMode: 'readonly',
        GPUQueue: 'readonly',
      },
    },
  },
);
