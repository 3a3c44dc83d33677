/*
 * A Vulkan driver for a card at a place on the PCI bus: it hands everything on to a real driver (CARD_DRIVER) that has no such place,
 * Mesa's software adapter. Several of it are several identical cards. What opens a device on it is told by a line in the file
 * CARD_LOG: the process, and the number of the bus, for which the driver is compiled (-DBUS=0x41).
 */
#include <dlfcn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef void (*Function)(void);
typedef Function (*Lookup)(void *, const char *);

static void *driver;
static Lookup instance_function;

static void *open_driver(void) {
  const char *path = getenv("CARD_DRIVER");
  if (driver) return driver;
  driver = path ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
  if (!driver) fprintf(stderr, "card: %s\n", path ? dlerror() : "CARD_DRIVER is not set");
  else instance_function = (Lookup)dlsym(driver, "vk_icdGetInstanceProcAddr");
  return driver;
}

/* Of vulkan_core.h, whose own package need not be there. */
struct chained {
  uint32_t type;
  struct chained *next;
};
struct pci_bus_info {
  struct chained chained;
  uint32_t domain, bus, device, function;
};
struct extension {
  char name[256];
  uint32_t version;
};
enum { PCI_BUS_INFO = 1000212000, INCOMPLETE = 5 };

typedef void (*GetProperties)(void *, struct chained *);
typedef int (*EnumerateExtensions)(void *, const char *, uint32_t *, struct extension *);
typedef int (*CreateDevice)(void *, const void *, const void *, void *);
static GetProperties get_properties;
static EnumerateExtensions enumerate_extensions;
static CreateDevice create_device;

static void properties_of_card(void *card, struct chained *properties) {
  get_properties(card, properties);
  for (; properties; properties = properties->next) {
    if (properties->type != PCI_BUS_INFO) continue;
    struct pci_bus_info *place = (struct pci_bus_info *)properties;
    place->domain = place->device = place->function = 0;
    place->bus = BUS;
  }
}

static int extensions_of_card(void *card, const char *layer, uint32_t *count, struct extension *extensions) {
  uint32_t room = *count;
  int result = enumerate_extensions(card, layer, count, extensions);
  if (result == 0 && extensions && *count < room) extensions[*count] = (struct extension){"VK_EXT_pci_bus_info", 2};
  if (result == 0 && extensions && *count == room) return INCOMPLETE;
  if (result == 0) *count += 1;
  return result;
}

static int device_of_card(void *card, const void *wanted, const void *allocator, void *device) {
  const char *path = getenv("CARD_LOG");
  FILE *log = path ? fopen(path, "a") : NULL;
  if (log) {
    fprintf(log, "%d %02x\n", (int)getpid(), BUS);
    fclose(log);
  }
  return create_device(card, wanted, allocator, device);
}

static Function own_function(const char *name, Function real) {
  if (!real) return real;
  if (strcmp(name, "vkGetPhysicalDeviceProperties2") == 0 || strcmp(name, "vkGetPhysicalDeviceProperties2KHR") == 0) {
    get_properties = (GetProperties)real;
    return (Function)properties_of_card;
  }
  if (strcmp(name, "vkEnumerateDeviceExtensionProperties") == 0) {
    enumerate_extensions = (EnumerateExtensions)real;
    return (Function)extensions_of_card;
  }
  if (strcmp(name, "vkCreateDevice") == 0) {
    create_device = (CreateDevice)real;
    return (Function)device_of_card;
  }
  return real;
}

Function vk_icdGetInstanceProcAddr(void *instance, const char *name) {
  return open_driver() ? own_function(name, instance_function(instance, name)) : NULL;
}

Function vk_icdGetPhysicalDeviceProcAddr(void *instance, const char *name) {
  Lookup lookup = open_driver() ? (Lookup)dlsym(driver, "vk_icdGetPhysicalDeviceProcAddr") : NULL;
  return lookup ? own_function(name, lookup(instance, name)) : NULL;
}

int vk_icdNegotiateLoaderICDInterfaceVersion(uint32_t *version) {
  int (*negotiate)(uint32_t *) =
      open_driver() ? (int (*)(uint32_t *))dlsym(driver, "vk_icdNegotiateLoaderICDInterfaceVersion") : NULL;
  return negotiate ? negotiate(version) : -9; /* VK_ERROR_INCOMPATIBLE_DRIVER */
}
