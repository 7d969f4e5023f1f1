import { type ForeignFunction, UnreadableParameters } from '../foreign-functions.ts'
import type { Instance } from '../instance.ts'
import { mayLog } from '../log-rate.ts'
import { beginLong } from '../metering/clock.ts'
import { Status } from './constants.ts'
import type { HostFunctions } from './host-functions.ts'

const NOTHING = new Uint8Array()

/** "Foreign function interface" of the specification. */
export function foreignFunctions(instance: Instance): HostFunctions {
  const { memory, settings } = instance
  return {
    /** The cells of the result may be null: the filter does not want it. */
    proxy_call_foreign_function(
      nameData: number,
      nameSize: number,
      parametersData: number,
      parametersSize: number,
      returnData: number,
      returnSize: number
    ): number {
      const name = memory.utf8(nameData, nameSize)
      const parameters = memory.copy(parametersData, parametersSize)
      if (
        name === undefined ||
        parameters === undefined ||
        (returnData !== 0 && !memory.has(returnData, 4)) ||
        (returnSize !== 0 && !memory.has(returnSize, 4))
      ) {
        return Status.InvalidMemoryAccess
      }
      const foreignFunction = settings.foreignFunctions.get(name)
      if (foreignFunction === undefined) return Status.NotFound
      let result: Uint8Array
      beginLong()
      try {
        result = resultOf(foreignFunction, parameters)
      } catch (error) {
        if (error instanceof UnreadableParameters) return Status.SerializationFailure
        const fields = { plugin: settings.name, context: instance.active?.id, err: error }
        if (mayLog(settings)) instance.log.error(fields, `the foreign function ${name} failed`)
        return Status.InternalFailure
      }
      if (returnData !== 0 && returnSize !== 0) {
        return memory.give(result, returnData, returnSize) ? Status.Ok : Status.InvalidMemoryAccess
      }
      // One cell alone is of no use, but must not keep what stood in it.
      if (returnData !== 0) memory.setU32(returnData, 0)
      if (returnSize !== 0) memory.setU32(returnSize, 0)
      return Status.Ok
    }
  }
}

function resultOf(foreignFunction: ForeignFunction, parameters: Buffer): Uint8Array {
  const result: unknown = foreignFunction(parameters)
  if (result === undefined) return NOTHING
  if (result instanceof Uint8Array) return result
  // Its failure would be nobody's, and end the process.
  if (result instanceof Promise) result.catch(() => {})
  throw new TypeError('it must return a Uint8Array or undefined, and at once: the filter waits for it')
}
