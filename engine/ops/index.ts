/** Every operator, one file a family. */
export {};
