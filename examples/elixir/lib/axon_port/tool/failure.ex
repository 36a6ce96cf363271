defmodule AxonPort.Tool.Failure do
  @moduledoc """
  Puts into words what went wrong in a tool, for the worker and for the log.

  What a tool exits with or raises is as much its own affair as what it returns: it may be large, and its `message/1` may
  take its time. So this is called in the tool's task, and nowhere else.
  """

  alias AxonPort.Stacktrace

  require Logger

  # The worker cuts messages of errors at the same length: what is beyond it would only travel.
  @max_message_characters 8192

  @doc "The text of what a tool names as its reason."
  @spec text(term) :: String.t()
  def text(reason) when is_binary(reason), do: if(String.valid?(reason), do: reason, else: inspect(reason))
  def text(reason) when is_exception(reason), do: bounded(Exception.message(reason))
  def text(reason), do: bounded(inspect(reason))

  @doc "The text of a crash, which is logged with its stacktrace: without arguments (`AxonPort.Stacktrace`)."
  @spec crash(String.t(), :error | :exit | :throw, term, Exception.stacktrace()) :: String.t()
  def crash(tool, kind, reason, stacktrace) do
    {reason, stacktrace} = Stacktrace.without_arguments(kind, reason, stacktrace)

    unless orderly?(kind, reason) do
      Logger.error(
        "tool #{tool} has crashed: " <> Exception.format(kind, reason, stacktrace),
        crash_reason: {crash_reason(kind, reason), stacktrace}
      )
    end

    told(kind, reason)
  end

  defp orderly?(:exit, reason), do: reason in [:normal, :shutdown] or match?({:shutdown, _}, reason)
  defp orderly?(_kind, _reason), do: false

  defp crash_reason(:throw, value), do: {:nocatch, value}
  defp crash_reason(_error_or_exit, reason), do: reason

  defp told(:throw, value), do: "the tool threw " <> bounded(inspect(value))
  defp told(:exit, reason), do: "the tool exited: " <> bounded(Exception.format_exit(reason))

  defp told(:error, exception) do
    "the tool raised #{inspect(exception.__struct__)}: " <> bounded(Exception.message(exception))
  end

  defp bounded(text) do
    text = if String.valid?(text), do: text, else: inspect(text)
    String.slice(text, 0, @max_message_characters)
  end
end
