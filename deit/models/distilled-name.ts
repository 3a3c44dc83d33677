/** The plain and the distilled variant of a published DeiT by the name of either. Browser-safe. */
import { describeModel, modelNames } from './registry.ts';

/** `spec` with the distillation token, or without it; as it is where there is no such variant. */
export function distilledName(spec: string, isDistilled: boolean): string {
  const plain = spec.trim().replace(/^(deit_(?:tiny|small|base))_distilled_patch/, '$1_patch');
  const wanted = isDistilled ? plain.replace(/^(deit_(?:tiny|small|base))_patch/, '$1_distilled_patch') : plain;
  return modelNames().includes(wanted.split(/\s/)[0]) ? describeModel(wanted).spec : spec;
}
