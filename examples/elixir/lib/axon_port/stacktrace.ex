defmodule AxonPort.Stacktrace do
  @moduledoc """
  What code of somebody else's has failed with, for logs and crash reports.

  In a stacktrace the call that no clause took, or that the runtime refused, stands with its arguments. Those of a tool
  hold the deps of its run, which may be keys. So they are counted here, and not shown.
  """

  @doc "Calls a function whose failure the process is to die of: the report of that shows no arguments."
  @spec call((() -> result)) :: result when result: term
  def call(fun) do
    fun.()
  catch
    kind, reason ->
      {reason, stacktrace} = without_arguments(kind, reason, __STACKTRACE__)
      :erlang.raise(kind, reason, stacktrace)
  end

  @doc """
  What was caught, without the arguments of calls. An error is made an exception first: its message may need them.

  The same stacktraces are in what a process exits with that has waited for another one.
  """
  @spec without_arguments(kind, term, Exception.stacktrace()) :: {reason :: term, Exception.stacktrace()}
        when kind: :error | :exit | :throw
  def without_arguments(:error, reason, stacktrace) do
    {Exception.normalize(:error, reason, stacktrace), counted(stacktrace)}
  end

  def without_arguments(:exit, reason, stacktrace), do: {told(reason), counted(stacktrace)}
  def without_arguments(:throw, value, stacktrace), do: {value, counted(stacktrace)}

  defp told({reason, [_ | _] = stacktrace}), do: {told(reason), counted(stacktrace)}

  defp told({reason, {module, function, _} = call}) when is_atom(module) and is_atom(function),
    do: {told(reason), call}

  defp told(reason), do: reason

  # What only looks like a stacktrace stays as it is.
  defp counted([entry | rest]), do: [count(entry) | counted(rest)]
  defp counted(rest), do: rest

  defp count({module, function, arguments, location})
       when is_atom(module) and is_atom(function) and length(arguments) >= 0 and is_list(location),
       do: {module, function, length(arguments), location}

  defp count({fun, arguments, location})
       when is_function(fun) and length(arguments) >= 0 and is_list(location),
       do: {fun, length(arguments), location}

  defp count(entry), do: entry
end
