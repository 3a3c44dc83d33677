/**
 * Tar archives, gzipped, in base64, by Python's tarfile in its three formats: a folder, an image of 900 bytes of a long name (in GNU and pax
 * with accents; in ustar, of 184 characters, cut in two) ending in .JPG with its .CLS (wasp), b.jpg with b.cls (ant), and a hard link c.jpg.
 */
export const ARCHIVES = {
  gnu: 'H4sIAAAAAAACA+2ZS26DMBRF37ir8ApsA/ZjWqmDSAmDSlkBgSjqRxAFIrKlrKMbC+qgUlykDhobJN/Dk+z55cA1SFUr8oweYWO+1xF3ndhzyikJSwE4d315EoIiRSqpnou2ORRvzYfH/Cdy/8k8M5mTf55bS6JA/t6p/4H6uvq61OUhyPXrisDM+f/x/E9Ym3v/s9xYJqHhv3faZo/BYGYc9D/0P/Q/L/3vpdii4y28/43Y3/1Po/+FYCi74xM0iJadfD8eZv/+577/mdME/oegH1pIELX/1We3RP9T+B+CsukhQcQs9vxvSGzgP87/+P/jlWoR/d/ZG50xk0hC3JyR+w8AACBObgexfo8AKAAA',
  pax: 'H4sIAAAAAAACA+2ZT4rCMBjFs/YUOUH+N65kBmahyCwETxBtGUelFluxV5pzzMUmuBBshRlwEgt5v36QLApdPF7yvq+M55wERnisMZfV013v7K1WitCMROBUN+7oP0nShHHGXxeunRUuL47h9L+j+1VznZlb/aVQckxoC/2Do7SllWs2k/wB+PdXqIe3/wKbL6YjAno8JPvL3/jl/JdWdPyv/NuCUAH/B+dQFigU6omF/If8h/wXNv+9vS+R/4aZ/zxZL/9phfwXg7OrKxgjXVZsW308ff6nu/M/ayX8H4PmfIAJkvb/el8P0f+4/6PgygYmSJhB9P9W9Pt/g/4/Sv9vBN1/ljv8A0qT9SDyf2evxjoThMoYw4nE/Q8AACBNfgCkl4OQACgAAA==',
  ustar:
    'H4sIAAAAAAACA+3WQQ6CMBAF0Fl7Ck4AbWnLAVyYEBcmngDBmBgDxGLw+DbuRBcspFD6XyZpd5A0f2bipEpoYszSUr5Pa3j+uOtUCIoUOfAwXXG3n6QwPScT54fdqPfnmsnP91eK84wi5vP7V5P562829RmFQs1YK+3/2/1x7PxX3/1foP+76P99YdoNQahO8bW9zL7/p8P9X2vuef490fUNQhB0/subWWL+BfLvQlF3CEHAykXM/+E908zOf+5iOQk8/wAAAAAAAAAAsG4vmE5UBAAoAAA=',
};
