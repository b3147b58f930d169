/**
 * Names of vDisks that are the cluster's own. They start with a dot, and are in no listing:
 *
 *     .files/<container>                              holds the file system of the container
 *     .file/<container>/<generation>.<file>.<n>       was made for a file of it, by that number
 */

const HIDDEN = '.'
const FILES = `${HIDDEN}files/`
const FILE = `${HIDDEN}file/`
const OF_A_FILE = /^\.file\/(.+)\/\d+\.(\d+)\.\d+$/

export function isHiddenDisk(name: string): boolean {
  return name.startsWith(HIDDEN)
}

/** The vDisk that holds the file system of a container. */
export function filesDiskName(container: string): string {
  return FILES + container
}

/** All vDisks that were made for files of a container have names that start with this. */
export function fileDiskPrefix(container: string): string {
  return `${FILE}${container}/`
}

/** A vDisk for people: its name, or what a hidden one is there for. */
export function describeDisk(name: string): string {
  if (name.startsWith(FILES)) return `the file system of container ${name.slice(FILES.length)}`
  const [, container, file] = OF_A_FILE.exec(name) ?? []
  return container === undefined ? name : `file ${file} of container ${container}`
}
