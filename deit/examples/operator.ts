/** An operator of one's own, with its gradient: squared ReLU, y = max(x, 0)^2. Run it: npx tsx deit/examples/operator.ts */
import { createEngine, defineOp, elementwise, input, output } from '../../engine/node.ts';
import type { Kernel, Tensor } from '../../engine/node.ts';

const forward: Kernel<{ n: number }> = ({ n }, device) =>
  elementwise(
    {
      name: 'squared_relu.forward',
      n,
      bindings: [input('x', 'vec4f'), output('y', 'vec4f')],
      body: 'let positive = max(x[i], vec4f(0)); y[i] = positive * positive;',
      flopsPerElement: 2,
    },
    device,
  );

const backward: Kernel<{ n: number }> = ({ n }, device) =>
  elementwise(
    {
      name: 'squared_relu.backward',
      n,
      bindings: [input('x', 'vec4f'), input('dy', 'vec4f'), output('dx', 'vec4f')],
      body: 'dx[i] = dy[i] * 2 * max(x[i], vec4f(0));',
      flopsPerElement: 3,
    },
    device,
  );

const squaredReluOp = defineOp<object>({
  name: 'squaredRelu',
  forward(ctx, [x]) {
    const y = ctx.empty(x!.shape);
    ctx.run(forward, { n: x!.size }, { x: x!, y });
    ctx.save(x!);
    return [y];
  },
  backward(ctx, [dy]) {
    const [x] = ctx.saved;
    ctx.run(backward, { n: x.size }, { x, dy: dy!, dx: ctx.gradient(0) });
  },
});

/** max(x, 0)^2, elementwise; shape of x. */
const squaredRelu = (x: Tensor): Tensor => squaredReluOp([x], {})[0];

const engine = await createEngine();
const x = engine.tensor([-1, 0, 0.5, 3]).keep().requiresGrad_();
const { y, dx } = engine.scope(() => {
  const y = squaredRelu(x);
  y.sum().backward();
  return { y: y.read(), dx: x.grad!.read() };
});
console.log(JSON.stringify({ y: [...(await y)], dx: [...(await dx)] }));
engine.close();
