/*
 * A Vulkan driver that compiles and runs nothing: it hands everything on to a real driver (COMPILE_ONLY_DRIVER) but what
 * records, submits and waits, which succeeds at once. Mesa's AMD driver needs no card for the rest (RADV_FORCE_FAMILY), so
 * that WebGPU opens a device on a card that is not there, and its pipelines are really compiled.
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef void (*Function)(void);
typedef Function (*Lookup)(void *, const char *);

static void *driver;
static Lookup instance_function, device_function;

static void *open_driver(void) {
  if (driver) return driver;
  const char *path = getenv("COMPILE_ONLY_DRIVER");
  driver = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
  if (!driver) {
    fprintf(stderr, "compile-only: %s\n", path ? dlerror() : "COMPILE_ONLY_DRIVER is not set");
    return NULL;
  }
  instance_function = (Lookup)dlsym(driver, "vk_icdGetInstanceProcAddr");
  return driver;
}

/* VK_SUCCESS, whatever the arguments are. */
static intptr_t succeed(void) { return 0; }

static Function own_function(const char *name) {
  static const char *const names[] = {
      "vkBeginCommandBuffer", "vkEndCommandBuffer", "vkResetCommandBuffer", "vkQueueSubmit",      "vkQueueSubmit2",
      "vkQueueSubmit2KHR",    "vkQueueWaitIdle",    "vkDeviceWaitIdle",     "vkWaitForFences",    "vkGetFenceStatus",
      "vkWaitSemaphores",     "vkWaitSemaphoresKHR", "vkQueueBindSparse"};
  if (strncmp(name, "vkCmd", 5) == 0) return (Function)succeed;
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(name, names[i]) == 0) return (Function)succeed;
  return NULL;
}

static Function of_device(void *device, const char *name) {
  Function real = device_function(device, name), own = own_function(name);
  return real && own ? own : real;
}

Function vk_icdGetInstanceProcAddr(void *instance, const char *name) {
  if (!open_driver()) return NULL;
  Function real = instance_function(instance, name), own = own_function(name);
  if (real && strcmp(name, "vkGetDeviceProcAddr") == 0) {
    device_function = (Lookup)real;
    return (Function)of_device;
  }
  return real && own ? own : real;
}

Function vk_icdGetPhysicalDeviceProcAddr(void *instance, const char *name) {
  Lookup lookup = open_driver() ? (Lookup)dlsym(driver, "vk_icdGetPhysicalDeviceProcAddr") : NULL;
  return lookup ? lookup(instance, name) : NULL;
}

int vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t *version) {
  int (*negotiate)(uint32_t *) =
      open_driver() ? (int (*)(uint32_t *))dlsym(driver, "vk_icdNegotiateLoaderICDInterfaceVersion") : NULL;
  return negotiate ? negotiate(version) : -9; /* VK_ERROR_INCOMPATIBLE_DRIVER */
}
