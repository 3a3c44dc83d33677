import type { Shape, Tensor } from '../engine/index.ts';
import { DeitError } from '../engine/index.ts';
import type { LayerShapes } from './describe.ts';
import { Module } from './module.ts';

/** A module that makes one tensor of one tensor. */
export interface Layer extends Module {
  forward(x: Tensor): Tensor;
  describe?(input: Shape): LayerShapes;
}

/** Modules in a list, named 0, 1 and so on, as PyTorch's ModuleList. */
export class ModuleList<Part extends Module = Module> extends Module implements Iterable<Part> {
  private readonly list: Part[] = [];

  constructor(modules: Iterable<Part> = []) {
    super();
    for (const module of modules) this.append(module);
  }

  get length(): number {
    return this.list.length;
  }

  /** The module at this place, counted from the end if negative. Throws `bad-argument` where there is none. */
  at(index: number): Part {
    const module = this.list.at(index);
    if (module) return module;
    throw new DeitError('bad-argument', 'There is no module at this place.', {
      where: 'ModuleList.at',
      expected: `an index below ${this.length}`,
      found: String(index),
    });
  }

  append(module: Part): this {
    this.list.push(this.child(String(this.list.length), module));
    return this;
  }

  [Symbol.iterator](): Iterator<Part> {
    return this.list[Symbol.iterator]();
  }
}

/**
 * Layers one after the other, named by their place, as PyTorch's Sequential. Functions of a tensor (`relu`, `gelu`) may stand
 * between them and take up a number too:
 *
 *     new Sequential(new Linear(engine, 784, 64), relu, new Linear(engine, 64, 10)) // parameters 0.weight, ..., 2.bias
 */
export class Sequential extends Module implements Layer {
  private readonly steps: readonly (Layer | ((x: Tensor) => Tensor))[];

  constructor(...steps: readonly (Layer | ((x: Tensor) => Tensor))[]) {
    super();
    this.steps = steps;
    for (const [i, step] of steps.entries()) {
      if (typeof step === 'function') continue;
      this.child(String(i), step);
      if (typeof step.forward === 'function') continue;
      throw new DeitError('bad-argument', 'A part of a Sequential has no forward(x).', {
        where: `Sequential, "${i}"`,
        found: step.constructor.name,
      });
    }
  }

  forward(x: Tensor): Tensor {
    return this.steps.reduce((y, step) => (typeof step === 'function' ? step(y) : step.forward(y)), x);
  }

  /** Functions, and layers that do not say what they make of it, are taken to keep the shape. */
  describe(input: Shape): LayerShapes {
    const parts: LayerShapes[] = [];
    for (const step of this.steps) {
      const part = typeof step === 'function' ? null : step.describe?.(parts.at(-1)?.outputShape ?? input);
      if (part) parts.push(part);
    }
    return { module: this, type: 'Sequential', outputShape: parts.at(-1)?.outputShape ?? input, parts };
  }
}
