import type { VariantChoices } from './variants.ts';

export interface EngineOptions {
  /**
   * The GPU: an adapter of one's own, whose one device the engine opens with all that the adapter has; or a device of one's
   * own, with the features and limits that it was opened with, which stays open when the engine closes. In Node also `auto`,
   * `swiftshader` or part of an adapter's name. Default: the best there is.
   */
  adapter?: string | GPUAdapter | GPUDevice | undefined;
  /** Seed of every random draw. */
  seed?: number;
  /** Most bytes of GPU memory that the engine may allocate. */
  memoryBudget?: number;
  /**
   * Freed memory is never reused, and all memory starts as NaN; every dispatch is submitted and validated by itself.
   * Slow. In Node the environment variable DEIT_DEBUG=1 switches it on.
   */
  debug?: boolean;
  /** Variants of kernels chosen on this device before: see `tune`. Without them, and until `tune`, heuristics choose. */
  variants?: VariantChoices;
  /** Name of the variant by which kernels compute that have it, where it fits: `plain` for the straightforward ones. */
  variant?: string;
  /** Called once by `close`, to take down what opening the adapter put up. */
  onClose?: () => void;
}
