/** A module has something in it that cannot be metered. */
export class Unsupported extends Error {}
